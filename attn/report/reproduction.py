"""Published numbers beside ours: what is compared, and the rules of its verdict.

A number that is computed from configs must equal the published one to its last digit.
One that is measured is held against our interval, and what differs is named beside it;
where that is too much only orders are compared, of pairs whose intervals are apart.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from attn.config import Experiment
from attn.plots.tables import Cell as Shown
from attn.plots.tables import Column, Row, Table
from attn.plots.units import NONE
from attn.records.estimates import Estimate
from attn.records.published import Cell, Paper, cells
from attn.records.run import Run
from attn.registry import Reproduction

NOT_RUN = "not run"
COLUMNS = (
    Column("row", text=True),
    Column("column", text=True),
    Column("published"),
    Column("ours"),
    Column("verdict", text=True),
    Column("differs", text=True, spare=1),
)


@dataclass(frozen=True)
class Compared:
    """One published number, ours beside it, and the verdict."""

    cell: Cell
    digits: int
    """Decimal places of the published column."""
    ours: Estimate | None
    verdict: str
    by: Reproduction | None


@dataclass(frozen=True)
class Order:
    """Pairs of rows of one column, in the published order or not."""

    by: Reproduction
    agree: int = 0
    disagree: int = 0
    undecided: int = 0
    """Pairs whose intervals overlap."""

    def __str__(self) -> str:
        decided = self.agree + self.disagree
        said = f"{self.agree} of {decided} pairs in the published order"
        more = f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.by.column}: {said}{more}"


def compare(
    paper: Paper, reproductions: Sequence[Reproduction], runs: Mapping[str, Run]
) -> list[Compared]:
    """Compares every number of a paper with ours.

    Args:
        runs: finished runs, by the names of their experiments.
    """
    known = {(r.table, r.column): r for r in reproductions}
    places = {
        (table.name, column): _digits([row[i] for row in table.rows.values()])
        for table in paper.tables
        for i, column in enumerate(table.columns)
    }
    found = []
    for cell in cells(paper):
        at = cell.table, cell.column
        by = known.get(at)
        if by is None or cell.row not in by.rows:
            found.append(Compared(cell, places[at], None, NOT_RUN, None))
            continue
        ours = _ours(by, cell.row, runs)
        verdict = _verdict(cell.value, places[at], ours, by, cell.row)
        found.append(Compared(cell, places[at], ours, verdict, by))
    return found


def _digits(values: Sequence[float | None]) -> int:
    """The decimal places that a column was printed with."""
    tails = [repr(v).partition(".")[2].rstrip("0") for v in values if v is not None]
    return max(map(len, tails), default=0)


def _ours(by: Reproduction, row: str, runs: Mapping[str, Run]) -> Estimate | None:
    """The number of ours in the published unit; None where its run has no score."""
    source = by.rows[row]
    if callable(source):
        return Estimate(source(), None, 1)
    run = runs.get(source.name)
    if run is None or run.score is None:
        return None
    mean, half = run.score.mean * by.scale, run.score.half
    return Estimate(mean, None if half is None else half * by.scale, run.score.n)


def _verdict(
    published: float, digits: int, ours: Estimate | None, by: Reproduction, row: str
) -> str:
    """The verdict on one published number, by rule."""
    if ours is None:
        return NOT_RUN
    if callable(by.rows[row]):
        return "exact" if round(ours.mean, digits) == published else "differs"
    if by.order_only:
        return "order only"
    if ours.half is None:
        return "one seed"
    rounding = 0.5 * 10.0**-digits
    within = abs(ours.mean - published) <= ours.half + rounding
    return "within the interval" if within else "outside the interval"


def orders(compared: Sequence[Compared]) -> list[Order]:
    """The orders of the rows of each column that are measured here, on one task."""
    columns: dict[Hashable, list[Compared]] = {}
    for one in compared:
        if one.by and one.ours and one.ours.half is not None:
            source = one.by.rows[one.cell.row]
            task = source.task if isinstance(source, Experiment) else None
            at = one.cell.table, one.cell.column, task
            columns.setdefault(at, []).append(one)
    return [_order(column) for column in columns.values() if len(column) > 1]


def _order(column: Sequence[Compared]) -> Order:
    by = column[0].by
    assert by is not None
    counts = {"agree": 0, "disagree": 0, "undecided": 0}
    for one, other in combinations(column, 2):
        counts[_pair(one, other, by)] += one.cell.value != other.cell.value
    return Order(by, **counts)


def _pair(one: Compared, other: Compared, by: Reproduction) -> str:
    """Compares the order of two rows with the published one, where intervals are apart."""
    a, b = one.ours, other.ours
    assert a is not None
    assert b is not None
    if a.low <= b.high and b.low <= a.high:
        return "undecided"
    ours = (a.mean > b.mean) == by.ours_higher_is_better
    published = (one.cell.value > other.cell.value) == by.higher_is_better
    return "agree" if ours == published else "disagree"


def tables(paper: Paper, compared: Sequence[Compared]) -> list[Table]:
    """A table for each published one of which a number stands beside ours."""
    found = []
    for table in paper.tables:
        own = [one for one in compared if one.cell.table == table.name]
        shown = [one for one in own if one.by is not None]
        if not shown:
            continue
        said = [str(o) for o in orders(own)]
        said += dict.fromkeys(one.by.note for one in shown if one.by and one.by.note)
        rest = len(own) - len(shown)
        said += [f"{rest} more numbers of this table: {NOT_RUN}"] if rest else []
        title = f"{paper.name}, {table.caption}"
        rows = tuple(map(_row, shown))
        found.append(Table(title, COLUMNS, rows, note="; ".join(said)))
    return found


def _row(one: Compared) -> Row:
    cell, digits = one.cell, one.digits
    ours = NONE if one.ours is None else _text(one.ours, digits)
    mean, half = (None, None) if one.ours is None else (one.ours.mean, one.ours.half)
    differs = one.by.differs if one.by and one.by.differs else NONE
    return Row(
        (
            Shown(cell.row),
            Shown(cell.column),
            Shown(f"{cell.value:.{digits}f}", cell.value),
            Shown(ours, mean, half),
            Shown(one.verdict, strong=one.verdict == "exact"),
            Shown(differs),
        )
    )


def _text(ours: Estimate, digits: int) -> str:
    """A number with one more digit than the published one."""
    mean = f"{ours.mean:,.{digits + 1}f}"
    if ours.half is None:
        return mean
    return f"{mean} ± {ours.half:.{digits + 1}f} (n={ours.n})"


def summary(compared: Sequence[Compared]) -> str:
    """The number of verdicts of each kind, as in `9 exact, 2 differs, 45 not run`."""
    counts: dict[str, int] = {}
    for one in compared:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    ordered = sorted(counts, key=lambda verdict: (verdict == NOT_RUN, -counts[verdict]))
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ordered)
