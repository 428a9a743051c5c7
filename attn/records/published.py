"""Published numbers: one JSON file a paper, and what must be said beside each number.

Rows and columns have the names that the paper printed. A null is a number that was not
reported, or a run that failed; the caveats of the table say which.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from attn.config import typed
from attn.errors import UserError


@dataclass(frozen=True)
class Table:
    """One table of a paper."""

    name: str
    caption: str
    unit: str
    setting: str
    """Model, data and training behind the numbers."""
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    caveat: str = ""
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that are means, and the columns they are the means of."""
    caveats: Mapping[str, str] = field(default_factory=dict)
    """Caveats of single rows and cells, under `row` or `row/column`."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of columns that have another than the table."""
    digits: Mapping[str, int] = field(default_factory=dict)
    """Decimal places of columns whose numbers were printed with several."""
    mechanisms: Mapping[str, str] = field(default_factory=dict)
    """Rows that are mechanisms of `attn.kernels.KERNELS`, and their names there."""
    transcribed: str = ""
    """Where the numbers were read, and what they were checked against."""
    not_run: str = ""
    """Why no number of ours stands beside one of these, where nothing here can."""


@dataclass(frozen=True)
class Paper:
    """The tables of one paper, or of a repository that publishes numbers."""

    name: str
    title: str
    authors: str
    year: int
    source: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Cell:
    """One published number with all that must be known to quote it."""

    paper: str
    table: str
    row: str
    column: str
    value: float
    unit: str
    setting: str
    caveat: str
    source: str
    not_run: str = ""
    """Why nothing here can stand beside it."""


def cells(paper: Paper) -> Iterator[Cell]:
    """Yields every number of a paper; nulls are left out."""
    for table in paper.tables:
        for row, (i, column) in product(table.rows, enumerate(table.columns)):
            own = (table.caveats.get(key) for key in (row, f"{row}/{column}"))
            caveat = "; ".join(filter(None, (table.caveat, *own)))
            unit = table.units.get(column, table.unit)
            if (value := table.rows[row][i]) is not None:
                where = paper.name, table.name, row, column
                said = value, unit, table.setting, caveat, paper.source
                yield Cell(*where, *said, table.not_run)


def read_papers(folder: Path) -> dict[str, Paper]:
    """Reads every paper in a folder, by name.

    Raises:
      UserError: a file is no JSON, or a field of it is wrong; it names both.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}


def _read(path: Path) -> Paper:
    try:
        values = json.loads(path.read_bytes(), object_pairs_hook=_once)
        paper = typed.decode(Paper, values, strict=True)
        for problem in _problems(paper, path.stem):
            raise typed.Wrong(f"has {problem}")
    except ValueError as error:
        what = error if isinstance(error, typed.Wrong) else f"is not JSON: {error}"
        raise UserError(f"{path} {what}; see attn.records.published") from None
    return paper


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object in which no name stands twice; JSON would keep the last."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise typed.Wrong(f"has {name!r} twice in one object")
    return dict(pairs)


def _problems(paper: Paper, stem: str) -> Iterator[str]:
    """Yields what the types alone do not forbid."""
    if paper.name != stem:
        yield f"name = {paper.name!r}, which is not the file's"
    if not paper.source.strip():
        yield "an empty source"
    yield from (f"tables.{t.name}.{it}" for t in paper.tables for it in _loose(t))


def _loose(table: Table) -> Iterator[str]:
    """Yields ragged rows, and what is said of rows and columns that are not there."""
    rows, columns = set(table.rows), set(table.columns)
    for row, numbers in table.rows.items():
        if len(numbers) != len(columns):
            yield f"rows.{row} with {len(numbers)} numbers for {len(columns)} columns"
    both = {f"{row}/{column}" for row, column in product(rows, columns)}
    yield from (f"caveats.{it} of no cell" for it in {*table.caveats} - rows - both)
    yield from (f"mechanisms.{it} of no row" for it in {*table.mechanisms} - rows)
    named = {*table.units, *table.digits, *table.averages}
    named = named.union(*table.averages.values())
    yield from (
        f"units, digits or averages of no column {it!r}" for it in named - columns
    )
