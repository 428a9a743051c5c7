"""Verdicts on claims, by rule: supported, refuted or undecided.

A prediction is supported where the whole 95 % interval of the difference lies within its
bounds, refuted where all of it lies outside, and else undecided. A claim is refuted with
any of its predictions, and supported with all of them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attn.config.claims import Claim, Prediction
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE, metric_label, metric_text
from attn.records.estimates import Estimate, difference, estimate
from attn.records.run import Run

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
NOT_RUN = "not run"
COLUMNS = (
    Column("prediction", text=True),
    Column("verdict", text=True),
    Column("difference"),
)
CAPTION = (
    "Difference: of means over seeds ± half of its 95 % interval (Welch), in the metric's "
    "unit, above 0 where the first is better. A prediction is supported where the whole "
    "interval lies within its bounds, refuted where all of it lies outside; a claim is "
    "refuted with any of its predictions, and supported with all of them."
)


@dataclass(frozen=True)
class Judged:
    """A prediction, the difference that was measured, and the verdict."""

    prediction: Prediction
    difference: Estimate | None
    verdict: str
    metric: str


def judge(prediction: Prediction, runs: Mapping[str, Run]) -> Judged:
    """Judges one prediction by finished runs, which are known by name."""
    run = runs.get(prediction.run)
    found = None if run is None else _difference(run, prediction.than, runs)
    metric = "" if run is None else run.metric
    return Judged(prediction, found, _verdict(prediction, found), metric)


def verdict(judged: Sequence[Judged]) -> str:
    """The verdict on a claim from those on all of its predictions."""
    found = {one.verdict for one in judged}
    for decisive in (REFUTED, NOT_RUN, UNDECIDED):
        if decisive in found:
            return decisive
    return SUPPORTED


def claim_tables(claims: Sequence[Claim], runs: Sequence[Run]) -> list[Table]:
    """A table for each claim of which a prediction can be judged.

    Of several runs of one name that of the most seeds is judged, and a note says so.
    """
    known = {run.name: run for run in sorted(runs, key=lambda run: len(_values(run)))}
    found = []
    for claim in claims:
        judged = [judge(prediction, known) for prediction in claim.predictions]
        if any(one.difference for one in judged):
            title = f"{verdict(judged).capitalize()}: {claim.sentence}"
            rows, note = tuple(map(_row, judged)), _chosen(claim, runs, known)
            found.append(Table(title, COLUMNS, rows, note))
    return found


def _chosen(claim: Claim, runs: Sequence[Run], known: Mapping[str, Run]) -> str:
    """The runs of a claim that were taken among finished ones of their name, in words."""
    named = {name for one in claim.predictions for name in (one.run, one.than)}
    counts = Counter(run.name for run in runs if run.name in named and not run.failed)
    return "; ".join(
        f"{count} runs are called {name}: judged is {known[name].directory.name}, "
        f"n={len(_values(known[name]))}"
        for name, count in counts.items()
        if count > 1
    )


def _difference(
    run: Run, than: str | float, runs: Mapping[str, Run]
) -> Estimate | None:
    """The amount by which a run is better than another, a baseline or a number."""
    own = _values(run)
    if isinstance(than, str) and than not in run.baselines:
        others = _values(runs[than]) if than in runs else ()
        if not own or not others:
            return None
        found = difference(own, others)
    elif own:
        base = run.baselines[than] if isinstance(than, str) else than
        found = estimate([value - base for value in own])
    else:
        return None
    sign = 1 if run.higher_is_better else -1
    return Estimate(sign * found.mean, found.half, found.n)


def _values(run: Run) -> Sequence[float]:
    return () if run.failed else (run.result.test or {}).get(run.metric, ())


def _verdict(prediction: Prediction, found: Estimate | None) -> str:
    if found is None:
        return NOT_RUN
    if found.half is None or not math.isfinite(found.mean):
        return UNDECIDED
    low, high = prediction.at_least, prediction.at_most
    if low < found.low and found.high < high:
        return SUPPORTED
    # At a ceiling both have one score, and no spread: that is a tie.
    return REFUTED if found.high < low or high < found.low else UNDECIDED


def _row(one: Judged) -> Row:
    found = one.difference
    text = NONE if found is None else metric_text(one.metric, found)
    mean, half, n = (found.mean, found.half, found.n) if found else (None,) * 3
    cells = (
        Cell(words(one.prediction, one.metric)),
        Cell(one.verdict, strong=one.verdict in (SUPPORTED, REFUTED)),
        Cell(text, mean, half, n),
    )
    return Row(cells)


def words(prediction: Prediction, metric: str) -> str:
    """A prediction as a sentence, with its bounds in the metric's unit."""

    def number(value: float) -> str:
        return metric_text(metric, Estimate(value, None, 1), with_n=False)

    low, high = prediction.at_least, prediction.at_most
    unit = f" ({metric_label(metric)})" if metric else ""
    than = (
        prediction.than if isinstance(prediction.than, str) else number(prediction.than)
    )
    if high == math.inf and low == 0:
        said = f"is better than {than}"
    elif high == math.inf and low > 0:
        said = f"is better than {than} by more than {number(low)}{unit}"
    elif low == -math.inf and high == 0:
        said = f"is worse than {than}"
    elif low == -math.inf:
        said = f"is less than {number(high)} better than {than}{unit}"
    elif high == math.inf:
        said = f"is less than {number(-low)} worse than {than}{unit}"
    elif low == -high:
        said = f"is within {number(high)} of {than}{unit}"
    else:
        said = f"is {number(low)} to {number(high)} better than {than}{unit}"
    return f"{prediction.run} {said}"
