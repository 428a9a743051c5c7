"""Tables in a terminal, with as many columns as fit in its width."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group as RichGroup
from rich.table import Table as RichTable
from rich.text import Text

from attn.plots.tables import Table

STYLES = {"failed": "red", "baseline": "dim", "run": ""}


def to_rich(
    tables: Sequence[Table], after: Sequence[str] = (), width: int | None = None
) -> RichGroup:
    """Formats tables and paragraphs for a terminal; `rich.print` it.

    Args:
        width: the letters of a line; where a table is wider, it has fewer columns.
    """
    drawn = (_rich(table, width) for table in tables)
    return RichGroup(*drawn, *(Text(part, style="dim") for part in after))


def _rich(table: Table, width: int | None) -> RichTable:
    table, left_out = _narrowed(table, width)
    also = f"not shown here: {', '.join(left_out)}" if left_out else ""
    note = "\n".join(filter(None, (table.note, also)))
    drawn = RichTable(
        title=Text(table.title),
        caption=Text(note) if note else None,
        title_justify="left",
    )
    for column, letters in zip(table.columns, _fitted(table, width)):
        side = "left" if column.text else "right"
        drawn.add_column(
            Text(column.name), justify=side, overflow="fold", width=letters
        )
    for row in table.rows:
        texts = [Text(c.text, style="bold" if c.strong else "") for c in row.cells]
        drawn.add_row(*texts, style=STYLES[row.kind])
    return drawn


def _fitted(table: Table, width: int | None) -> Sequence[int | None]:
    """The width of each column: what its cells need, then heads in one line."""
    if width is None:
        return [None] * len(table.columns)
    widths = _widths(table)
    for i, column in enumerate(table.columns):
        room = max(0, width - _total(widths))
        widths[i] += min(room, max(0, len(column.name) - widths[i]))
    return widths


def _total(widths: Sequence[int]) -> int:
    """The letters of a line: borders and two spaces beside each cell."""
    return 1 + sum(width + 3 for width in widths)


def _narrowed(table: Table, width: int | None) -> tuple[Table, list[str]]:
    """The table without its least columns, so that every cell fits in one line."""
    left_out: list[str] = []
    while width is not None and _total(_widths(table)) > width:
        optional = [column for column in table.columns if column.spare]
        if not optional:
            break
        least = max(optional, key=lambda column: column.spare)
        at = table.columns.index(least)
        left_out.append(least.name)
        rows = [replace(r, cells=r.cells[:at] + r.cells[at + 1 :]) for r in table.rows]
        columns = table.columns[:at] + table.columns[at + 1 :]
        table = replace(table, columns=columns, rows=tuple(rows))
    return table, left_out


def _widths(table: Table) -> list[int]:
    """The letters that each column needs: heads are broken at spaces, cells are not."""
    columns = zip(table.columns, *(row.cells for row in table.rows))
    return [
        max(
            *(len(word) for word in column.name.split()),
            *(len(cell.text) for cell in cells if not cell.text.startswith("failed")),
            1,
        )
        for column, *cells in columns
    ]
