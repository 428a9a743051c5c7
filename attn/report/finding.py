"""The findings of a table in sentences, with no order where seeds tell nothing apart."""

import math
from collections.abc import Sequence

from attn.plots.apart import alike, ranked
from attn.plots.units import metric_label, metric_text
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.run import Run


def findings(group: Group) -> list[str]:
    """The finding of a group: the best, what noise may keep from it, and baselines."""
    known = [(run, score) for run in group.done if (score := run.score)]
    sure = [pair for pair in known if pair[1].half is not None]
    said = _without_score(group)
    if len(sure) > 1:
        said += _order(group)
    elif sure:
        said.append(f"{_named(group, sure)}.")
    who = "All" if len(sure) == len(known) else "All with an interval"
    return [*said, *_beside_baselines(group, sure, who), *_unsure(group, known)]


def _order(group: Group) -> list[str]:
    """The best run, those that noise may keep from it, and those behind it."""
    best, *rest = ranked(group)
    near = [pair for pair in rest if alike(pair, best)]
    behind = [pair for pair in rest if not alike(pair, best)]
    said = [f"Best by its mean: {_named(group, [best])}."]
    if near:
        said.append(f"Within its interval or the noise floor: {_named(group, near)}.")
    if behind:
        said.append(f"Behind it, by more than the intervals: {_named(group, behind)}.")
    return said


def _unsure(group: Group, known: Sequence[tuple[Run, Estimate]]) -> list[str]:
    """The runs that no order holds: of one seed, or with one that diverged."""
    lone = [pair for pair in known if pair[1].half is None]
    finite = [pair for pair in lone if math.isfinite(pair[1].mean)]
    said = []
    if finite:
        named = _named(group, finite)
        said.append(f"One seed, no interval, so these numbers order nothing: {named}.")
    names = [group.label(r) for r, score in lone if not math.isfinite(score.mean)]
    return [*said, *([f"Not finite: {', '.join(names)}."] if names else [])]


def _beside_baselines(
    group: Group, known: Sequence[tuple[Run, Estimate]], who: str
) -> list[str]:
    """The runs that are not better than the best predictor without a model.

    Args:
        who: the runs that are known, as the subject of a sentence.
    """
    if not group.baselines or not known:
        return []
    name, value = group.baselines[0]
    higher = group.higher_is_better
    below = [
        pair
        for pair in known
        if not (pair[1].low > value if higher else pair[1].high < value)
    ]
    text = metric_text(group.metric, Estimate(value, None, 1), with_n=False)
    what = f"{name.replace('_', ' ')}, the best predictor without a model ({text})"
    if not below:
        return [f"{who} are better than {what}."]
    if len(below) == len(known):
        none = who.replace("All", "None")
        return [f"{none} is better than {what}, by more than its interval."]
    return [f"Not better than {what}: {_named(group, below)}."]


def _without_score(group: Group) -> list[str]:
    """The runs that failed, and those that were killed or are still running."""
    said = []
    for word, unfinished in (("Failed", False), ("Unfinished", True)):
        runs = [r for r in group.runs if r.failed and r.unfinished == unfinished]
        names = ", ".join(group.labels[run.directory] for run in runs)
        said += [f"{word}: {names}."] if names else []
    return said


def _named(group: Group, pairs: Sequence[tuple[Run, Estimate]]) -> str:
    """Names with scores, as in `softmax 99.8 ± 0.2, linear 93.9 ± 4.4 (accuracy, %)`."""
    words = [
        f"{group.label(run)} {metric_text(group.metric, score, with_n=False)}"
        for run, score in pairs
    ]
    return f"{', '.join(words)} ({metric_label(group.metric)})"
