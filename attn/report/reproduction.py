"""Published numbers beside ours: what is compared, and the rules of its verdict.

A number that is computed from configs must equal the published one to its last digit.
One that is measured is held against our interval, and what differs is named beside it;
where that is too much (task, sizes or metric) only orders are compared, of pairs whose
intervals are apart, and a row without another to be in order with is not comparable.
Of the bytes that a compiler plans, too, only orders are compared: another plans others.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from types import MappingProxyType

from attn.config import Experiment
from attn.config.compiled import CompiledStep
from attn.records.compiled import Planned
from attn.records.estimates import Estimate
from attn.records.published import Cell, Paper, cells
from attn.records.run import Run
from attn.registry import Reproduction

NOT_RUN = "not run"
NOT_COMPARABLE = "not comparable"
NOTHING_COMPILED: Mapping[str, Planned] = MappingProxyType({})


@dataclass(frozen=True)
class Compared:
    """One published number, ours beside it, and the verdict."""

    cell: Cell
    digits: int
    """Decimal places of the published column."""
    ours: Estimate | None
    verdict: str
    by: Reproduction | None
    compiler: str = ""
    """What planned our bytes, if they are that."""


@dataclass(frozen=True)
class Order:
    """Pairs of rows of one column, in the published order or not."""

    by: Reproduction
    agree: int = 0
    disagree: int = 0
    undecided: int = 0
    """Pairs whose intervals overlap."""
    ratios: tuple[float, ...] = ()
    """Our ratios to the row that others are divided by, over the published ones."""

    def __str__(self) -> str:
        decided = self.agree + self.disagree
        said = f"{self.agree} of {decided} pairs in the published order"
        said += f", {self.undecided} undecided" if self.undecided else ""
        if self.ratios:
            low, middle, high = min(self.ratios), median(self.ratios), max(self.ratios)
            said += (
                f", and ratios to {self.by.relative_to} {low:.2f} to {high:.2f} times the "
                f"published (median {middle:.2f})"
            )
        return f"{self.by.column}: {said}"


def compare(
    paper: Paper,
    reproductions: Sequence[Reproduction],
    runs: Mapping[Experiment, Run],
    planned: Mapping[str, Planned] = NOTHING_COMPILED,
) -> list[Compared]:
    """Compares every number of a paper with ours.

    Args:
        runs: finished runs, by their experiments.
        planned: the bytes of compiled steps, by their keys.
    """
    known = {(r.table, r.column): r for r in reproductions}
    places = {
        (table.name, column): table.digits.get(
            column, _digits([row[i] for row in table.rows.values()])
        )
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
        ours = _ours(by, cell.row, runs, planned)
        verdict = _verdict(cell.value, places[at], ours, by, cell.row)
        step = _planned(by, cell.row, planned)
        compiler = step.by if step else ""
        found.append(Compared(cell, places[at], ours, verdict, by, compiler))
    return found


def _digits(values: Sequence[float | None]) -> int:
    """The decimal places that a column was printed with."""
    tails = [repr(v).partition(".")[2].rstrip("0") for v in values if v is not None]
    return max(map(len, tails), default=0)


def _ours(
    by: Reproduction,
    row: str,
    runs: Mapping[Experiment, Run],
    planned: Mapping[str, Planned],
) -> Estimate | None:
    """The number of ours in the published unit; None where there is none yet."""
    source = by.rows[row]
    if isinstance(source, CompiledStep):
        step = _planned(by, row, planned)
        return step and Estimate(step.bytes * by.scale, None, 1)
    if callable(source):
        return Estimate(source(), None, 1)
    run = runs.get(source)
    if run is None or run.score is None:
        return None
    mean, half = run.score.mean * by.scale, run.score.half
    return Estimate(mean, None if half is None else half * by.scale, run.score.n)


def _planned(
    by: Reproduction, row: str, planned: Mapping[str, Planned]
) -> Planned | None:
    """The bytes of a row that is a compiled step; None where it is not, or not yet."""
    source = by.rows[row]
    return planned.get(source.key) if isinstance(source, CompiledStep) else None


def _verdict(
    published: float, digits: int, ours: Estimate | None, by: Reproduction, row: str
) -> str:
    """The verdict on one published number, by rule."""
    if ours is None:
        return NOT_RUN
    if not math.isfinite(ours.mean):
        return "not finite"
    if callable(by.rows[row]):
        return "exact" if round(ours.mean, digits) == published else "differs"
    if by.order_only or isinstance(by.rows[row], CompiledStep):
        return "order only" if _has_order(by, row) else NOT_COMPARABLE
    if ours.half is None:
        return "one seed"
    rounding = 0.5 * 10.0**-digits
    within = abs(ours.mean - published) <= ours.half + rounding
    return "within the interval" if within else "outside the interval"


def _has_order(by: Reproduction, row: str) -> bool:
    """Whether another row of the column is measured on the same task, or compiled too."""
    others = (source for name, source in by.rows.items() if name != row)
    return any(_ordered_with(by.rows[row]) == _ordered_with(other) for other in others)


def _ordered_with(source: object) -> Hashable:
    """Returns what the sources of two rows must share to have an order."""
    return source.task if isinstance(source, Experiment) else type(source)


def orders(compared: Sequence[Compared]) -> list[Order]:
    """The orders of the rows of each column that are measured here, on one task.

    Bytes that a compiler plans have no interval: of two only equal ones are undecided.
    """
    columns: dict[Hashable, list[Compared]] = {}
    for one in compared:
        if one.by is None or one.ours is None:
            continue
        source = one.by.rows[one.cell.row]
        if one.ours.half is not None or isinstance(source, CompiledStep):
            at = one.cell.table, one.cell.column, _ordered_with(source)
            columns.setdefault(at, []).append(one)
    return [_order(column) for column in columns.values() if len(column) > 1]


def _order(column: Sequence[Compared]) -> Order:
    by = column[0].by
    assert by is not None
    counts = {"agree": 0, "disagree": 0, "undecided": 0}
    for one, other in combinations(column, 2):
        counts[_pair(one, other, by)] += one.cell.value != other.cell.value
    return Order(by, **counts, ratios=_ratios(column, by.relative_to))


def _ratios(column: Sequence[Compared], reference: str) -> tuple[float, ...]:
    """The ratios to one row, ours over the published ones."""
    over = {one.cell.row: one.ours.mean / one.cell.value for one in column if one.ours}
    whole = over.pop(reference, None)
    return () if whole is None else tuple(ratio / whole for ratio in over.values())


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


def summary(compared: Sequence[Compared]) -> str:
    """The number of verdicts of each kind, as in `9 exact, 45 not run`, and why not."""
    counts: dict[str, int] = {}
    for one in compared:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    ordered = sorted(counts, key=lambda verdict: (verdict == NOT_RUN, -counts[verdict]))
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ordered)
    why = dict.fromkeys(one.cell.not_run for one in compared if one.cell.not_run)
    return "; ".join([said, *why])
