"""Tables as data, and writers to Markdown, terminals, HTML, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_html
from pathlib import Path
from typing import Literal

from attn.plots.units import NONE
from attn.records.run import FAMILIES


@dataclass(frozen=True)
class Cell:
    """A table cell: its string, and the number behind it."""

    text: str
    value: float | int | None = None
    """The number as it is stored, before units; readers sort by it."""
    half: float | None = None
    """The half width of the interval around `value`."""
    n: int | None = None
    """The number of seeds that `value` is the mean of."""
    strong: bool = False
    family: str = ""
    """The family of mechanisms whose colour the page shows before the string."""


@dataclass(frozen=True)
class Column:
    """A column: its name and what it holds."""

    name: str
    text: bool = False
    """Whether it holds words, aligned left; numbers are aligned right."""
    raw: str = ""
    """The name of the stored numbers, if they have another unit than what is shown."""
    spare: int = 0
    """The rank in which narrow terminals leave the column out, highest first; 0: never."""


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: tuple[Cell, ...]
    kind: Literal["run", "failed", "baseline"] = "run"


@dataclass(frozen=True)
class Table:
    """A table: title, columns, rows, and a note below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    """One paragraph a line."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)


def write_tables(
    tables: Sequence[Table], stem: Path, after: Sequence[str] = ()
) -> list[Path]:
    """Writes tables as Markdown, CSV and LaTeX, and returns the paths in that order."""
    written = {
        ".md": to_markdown(tables, after=after),
        ".csv": to_csv(tables),
        ".tex": to_latex(tables),
    }
    paths = [stem.with_name(stem.name + ending) for ending in written]
    for path, text in zip(paths, written.values()):
        path.write_text(text, encoding="utf-8")
    return paths


def to_markdown(
    tables: Sequence[Table],
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    level: int = 3,
) -> str:
    """Formats tables as GitHub Markdown, under headings of a level."""
    parts = [_markdown(table, level) for table in tables]
    return "\n\n".join([*before, *parts, *after]) + "\n"


def _markdown(table: Table, level: int) -> str:
    rules = ["---" if column.text else "---:" for column in table.columns]
    lines = [list(map(_escape, table.names)), rules, *map(_markdown_row, table.rows)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    heading = f"{'#' * level} {_escape(table.title)}" if table.title else ""
    notes = map(_escape, table.note.splitlines())
    return "\n\n".join(part for part in (heading, body, *notes) if part)


def _markdown_row(row: Row) -> list[str]:
    texts = [(_escape(cell.text), cell.strong) for cell in row.cells]
    first, *rest = (f"**{text}**" if strong else text for text, strong in texts)
    return [f"*{first}*" if row.kind == "baseline" else first, *rest]


def _escape(text: str) -> str:
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(old, new)
    return text.replace("*", "\\*").replace("`", "\\`").replace("[", "\\[")


def to_html(table: Table) -> str:
    """Formats the table as HTML, with buttons in its head to sort by."""
    heads = "".join(
        f'<th scope="col"><button type="button">{escape_html(name)}</button></th>'
        for name in table.names
    )
    rows = "\n".join(
        f'<tr class="{row.kind}">{"".join(map(_html_cell, row.cells))}</tr>'
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table data-testid="table">\n<thead><tr>{heads}</tr></thead>'
        f"\n<tbody>\n{rows}\n</tbody></table></div>\n"
    )


def _html_cell(cell: Cell) -> str:
    text = escape_html(cell.text)
    if cell.strong:
        text = f"<strong>{text}</strong>"
    if cell.family:
        hue = css_family(cell.family)
        text = f'<span class="dot" style="background:var(--{hue})"></span>{text}'
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    why = ' class="score"' if cell.text.startswith("failed: ") else ""
    return f"<td{why}{value}>{text}</td>"


def css_family(family: str) -> str:
    """The CSS name of a family's colour."""
    return family if family in FAMILIES else "other"


def to_csv(tables: Sequence[Table]) -> str:
    """Formats every row of every table as stored numbers, one record a row.

    A mean over seeds is three fields: the mean, its `half width` and its `n`. Words
    replace missing numbers, and unknown values are empty.
    """
    records = [_record(table, row) for table in tables for row in table.rows]
    names = dict.fromkeys(name for record in records for name in record)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def _record(table: Table, row: Row) -> dict[str, object]:
    found: dict[str, object] = {"table": table.title, "kind": row.kind}
    for column, cell in zip(table.columns, row.cells):
        name, words = column.raw or column.name, "" if cell.text == NONE else cell.text
        found[name] = words if cell.value is None else cell.value
        if cell.half is not None or cell.n is not None:
            found[f"{name} half width"] = cell.half
        if cell.n is not None:
            found[f"{name} n"] = cell.n
    return found


LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {char: f"${char}$" for char in "<>|"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "\n": " "}
    | {"^": "\\textasciicircum{}", "±": "$\\pm$", "·": "$\\cdot$", "…": "\\ldots{}"}
    # After the end of a row LaTeX would read a bracket as a length.
    | {"[": "{[}"}
)
"""Escapes of characters that LaTeX reads as commands, or that its fonts lack."""


def to_latex(tables: Sequence[Table]) -> str:
    """Formats the tables as LaTeX floats; the preamble needs booktabs."""
    return "\n".join(map(_latex, tables))


def _latex(table: Table) -> str:
    sides = "".join("l" if column.text else "r" for column in table.columns)
    heads = " & ".join(name.translate(LATEX) for name in table.names)
    rows = "\n".join(f"{_latex_row(row)} \\\\" for row in table.rows)
    parts = (part.removesuffix(".") for part in (table.title, *table.note.splitlines()))
    caption = ". ".join(filter(None, parts)).translate(LATEX)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n"
        f"\\begin{{tabular}}{{{sides}}}\n\\toprule\n{heads} \\\\\n\\midrule\n"
        f"{rows}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_row(row: Row) -> str:
    texts = [(cell.text.translate(LATEX), cell.strong) for cell in row.cells]
    first, *rest = (f"\\textbf{{{t}}}" if strong else t for t, strong in texts)
    if row.kind == "baseline":
        first = f"\\emph{{{first}}}"
    return " & ".join([first, *rest])
