"""The comparison of a paper's numbers with ours as tables, and as one HTML page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from attn.plots.tables import Cell, Column, Row, Table, to_html
from attn.plots.units import NONE
from attn.records.estimates import Estimate
from attn.records.published import Paper
from attn.records.published import Table as Published
from attn.report.reproduction import NOT_RUN, Compared, orders, summary

COLUMNS = (
    Column("row", text=True),
    Column("column", text=True),
    Column("published"),
    Column("ours"),
    Column("verdict", text=True),
    Column("differs", text=True, spare=1),
)
COMPARABLE = {
    "exact": "sizes alone decide it",
    "differs": "sizes alone decide it",
    "within the interval": "yes",
    "outside the interval": "yes",
    "one seed": "not without an interval",
    "not finite": "not where a seed diverged",
    "order only": "only the order of rows",
    "not comparable": "no: what differs is too much, and no other row is measured alike",
}
"""What of a number can be compared, by its verdict."""


def tables(paper: Paper, compared: Sequence[Compared]) -> list[Table]:
    """A table for each published one of which a number stands beside ours."""
    return [
        Table(
            f"{paper.name}, {table.caption}",
            COLUMNS,
            tuple(map(_row, shown)),
            note="; ".join(_said(own, shown)),
        )
        for table, own, shown in _beside_ours(paper, compared)
    ]


def _beside_ours(
    paper: Paper, compared: Sequence[Compared]
) -> list[tuple[Published, list[Compared], list[Compared]]]:
    """Each table with a number beside ours, with all its numbers, and with those."""
    found = []
    for table in paper.tables:
        own = [one for one in compared if one.cell.table == table.name]
        shown = [one for one in own if one.by is not None]
        if shown:
            found.append((table, own, shown))
    return found


def _said(own: Sequence[Compared], shown: Sequence[Compared]) -> list[str]:
    """The sentences below a table: orders, notes, compilers, and what is not run."""
    said = [str(order) for order in orders(own)]
    said += dict.fromkeys(one.by.note for one in shown if one.by and one.by.note)
    compilers = sorted({one.compiler for one in shown} - {""})
    said += [f"bytes as planned by {name}" for name in compilers]
    rest = len(own) - len(shown)
    return said + ([f"{rest} more numbers of this table: {NOT_RUN}"] if rest else [])


def _row(one: Compared) -> Row:
    differs = one.by.differs if one.by and one.by.differs else NONE
    return Row((*_numbers(one), Cell(differs)))


def _numbers(one: Compared) -> tuple[Cell, ...]:
    """Row, column, the published number, ours and the verdict."""
    cell, digits = one.cell, one.digits
    ours = NONE if one.ours is None else _text(one.ours, digits)
    known = one.ours if one.ours and math.isfinite(one.ours.mean) else None
    mean, half = (known.mean, known.half) if known else (None, None)
    return (
        Cell(cell.row),
        Cell(cell.column),
        Cell(f"{cell.value:.{digits}f}", cell.value),
        Cell(ours, mean, half),
        Cell(one.verdict, strong=one.verdict == "exact"),
    )


def _text(ours: Estimate, digits: int) -> str:
    """A number with one more digit than the published one."""
    if not math.isfinite(ours.mean):
        return f"not finite (n={ours.n})"
    mean = f"{ours.mean:,.{digits + 1}f}"
    if ours.half is None:
        return mean
    return f"{mean} ± {ours.half:.{digits + 1}f} (n={ours.n})"


def write_page(paper: Paper, compared: Sequence[Compared], path: Path) -> Path:
    """Writes the comparison to one HTML file that works offline; returns its path."""
    page = files("attn.report").joinpath("page")
    sections = [_section(*each) for each in _beside_ours(paper, compared)]
    text = Template(page.joinpath("comparison.html").read_text("utf-8")).substitute(
        title=escape(paper.title),
        css=page.joinpath("page.css").read_text("utf-8"),
        script=page.joinpath("tables.js").read_text("utf-8"),
        source=escape(f"{paper.authors} ({paper.year}), {paper.source}"),
        summary=escape(summary(compared)),
        tables="".join(sections) or "<p>No number of ours stands beside these yet.</p>",
    )
    path.write_text(text, encoding="utf-8")
    return path


def _section(
    table: Published, own: Sequence[Compared], shown: Sequence[Compared]
) -> str:
    """Formats one published table: the numbers, what differs, and what is said of it."""
    rows = [
        Row((*_numbers(one), Cell(COMPARABLE.get(one.verdict, "not yet"))))
        for one in shown
    ]
    columns = (*COLUMNS[:-1], Column("comparable?", text=True))
    body = to_html(Table(table.caption, columns, tuple(rows)))
    differs = {one.by.column: one.by.differs for one in shown if one.by}
    lines = [f"{columns}: {what}" for what, columns in _shared(differs) if what]
    caveats = [table.caveat] if table.caveat else []
    units = _shared({one.cell.column: one.cell.unit for one in shown})
    said = "; ".join(f"{columns} in {unit}" for unit, columns in units)
    return (
        f"<h2>{escape(table.caption)}</h2>\n"
        f'<p class="note">Published: {escape(table.setting)}. {escape(said)}.</p>\n{body}'
        f"{_list('What differs here', lines)}"
        f"{_list('What follows, and what is not here', _said(own, shown) + caveats)}"
    )


def _shared(by_column: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each different text, and the columns that share it, in words."""
    columns: dict[str, list[str]] = {}
    for column, text in by_column.items():
        columns.setdefault(text, []).append(column)
    return [(text, ", ".join(names)) for text, names in columns.items()]


def _list(title: str, lines: Iterable[str]) -> str:
    """Formats lines below a heading; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return f'<h3>{title}</h3>\n<ul class="note">\n{items}</ul>\n' if items else ""
