"""The differences that seeds can show: the noise floor of a table, and what is bold."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from attn.plots.units import metric_label, metric_text
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.power import POWER, detectable, spread
from attn.records.run import Run

Scored = tuple[Run, Estimate]


def values(run: Run) -> Sequence[float]:
    """The metric on the test split, a number a seed; none of a run that failed."""
    return (run.result.test or {}).get(run.metric, ())


def ranked(group: Group) -> list[Scored]:
    """The runs with an interval, the best mean first."""
    sign = -1 if group.higher_is_better else 1
    known = [(run, score) for run in group.done if (score := run.score)]
    sure = [pair for pair in known if pair[1].half is not None]
    return sorted(sure, key=lambda pair: sign * pair[1].mean)


def alike(one: Scored, best: Scored) -> bool:
    """Whether a run is as good as the best one, or below the noise floor beside it.

    It is neither where their intervals are disjoint and their difference is one that their
    seeds find with the power of `detectable`; disjoint intervals alone do not imply that.
    """
    (run, score), (other, top) = one, best
    if score.low <= top.high and top.low <= score.high:
        return True
    least = detectable(spread(values(run)), spread(values(other)), min(score.n, top.n))
    return abs(score.mean - top.mean) < least


def bold(group: Group) -> set[Path]:
    """The best run and those that are alike; none where fewer than two have intervals."""
    sure = ranked(group)
    if len(sure) < 2:
        return set()
    return {pair[0].directory for pair in sure if alike(pair, sure[0])}


def floor(group: Group) -> str:
    """The noise floor in a sentence; empty where no score is finite."""
    sure = ranked(group)
    if not sure:
        known = [score for run in group.done if (score := run.score)]
        lone = any(math.isfinite(score.mean) for score in known)
        said = "Noise floor: one seed shows no noise; run with --seeds 3."
        return said if lone else ""
    middle = median(spread(values(run)) for run, _ in sure)
    n = min(score.n for _, score in sure)
    least = _shown(group.metric, detectable(middle, middle, n))
    return (
        f"Noise floor: {n} seeds with the median spread find a difference of {least} with "
        f"{POWER:.0%} power at 5 %, and smaller ones less often ({metric_label(group.metric)})."
    )


def _shown(metric: str, value: float) -> str:
    """A difference in the metric's unit; no number is so small that it is shown as 0."""
    text = metric_text(metric, Estimate(value, None, 1), with_n=False)
    if any(digit in text for digit in "123456789"):
        return text
    return f"less than {text[:-1]}1"
