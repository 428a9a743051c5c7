"""The noise floor of a table: what its seeds can show, and the seeds that it takes."""

import math
from collections.abc import Sequence

from attn.plots.apart import values
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE, metric_label, metric_text
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.power import MOST, POWER, detectable, seeds_needed, spread
from attn.records.run import Run

CAPTION = (
    "Spread: standard deviation over seeds. Detectable: the smallest difference from the best "
    f"that these seeds find with a probability of {POWER:.0%} (Welch's t test, two-sided "
    "at 5 %). Seeds needed: of both runs, to find the difference that was measured. "
    "Spreads are estimates from these seeds, so both are rough where seeds are few."
)


def noise_table(group: Group) -> Table:
    """Makes the table of one task, the best run first."""
    scored = _scored(group)
    columns = (
        Column("mechanism", text=True),
        Column(metric_label(group.metric), raw=group.metric),
        Column("spread"),
        Column("from the best"),
        Column("detectable"),
        Column("seeds needed"),
    )
    rows = tuple(Row(_cells(group, run, score, scored)) for run, score in scored)
    return Table(group.title, columns, rows)


def _scored(group: Group) -> list[tuple[Run, Estimate]]:
    """The runs with a score, the best first; then those of one seed, or that diverged."""
    sign = -1 if group.higher_is_better else 1
    known = [(run, score) for run in group.done if (score := run.score)]

    def place(pair: tuple[Run, Estimate]) -> tuple[bool, float]:
        mean, half = pair[1].mean, pair[1].half
        return half is None, sign * mean if math.isfinite(mean) else math.inf

    return sorted(known, key=place)


def _cells(
    group: Group, run: Run, score: Estimate, scored: Sequence[tuple[Run, Estimate]]
) -> tuple[Cell, ...]:
    best, top = scored[0]
    own, others = spread(values(run)), spread(values(best))
    gap, n = abs(score.mean - top.mean), min(score.n, top.n)
    mean = score.mean if math.isfinite(score.mean) else None
    first = (
        Cell(group.label(run), family=run.family),
        Cell(metric_text(group.metric, score), mean, score.half, score.n),
        _number(group, own),
    )
    if run is best:
        return (*first, *(Cell(NONE),) * 3)
    seeds = seeds_needed(own, others, gap)
    many = seeds is None and gap > 0 and math.isfinite(own + others)
    said = f"over {MOST}" if many else f"{seeds or NONE}"
    return (
        *first,
        _number(group, gap),
        _number(group, detectable(own, others, n)),
        Cell(said, seeds),
    )


def _number(group: Group, value: float) -> Cell:
    if value != value:
        return Cell(NONE)
    text = metric_text(group.metric, Estimate(value, None, 1), with_n=False)
    return Cell(text, value)
