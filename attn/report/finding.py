"""The findings of a table in sentences, with no order where intervals overlap."""

from collections.abc import Sequence

from attn.plots.units import metric_label, metric_text
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.run import Run
from attn.report.noise import floor


def findings(group: Group) -> list[str]:
    """The finding of a group: the best, what is not told apart from it, and baselines."""
    scored = [(run, run.score) for run in group.done]
    known = [(run, score) for run, score in scored if score]
    said = [_failures(group)] if len(group.done) < len(group.runs) else []
    if not known:
        return said
    if len(known) > 1 and all(score.half is not None for _, score in known):
        said += [*_order(group, known), *filter(None, [floor(group)])]
    elif len(known) > 1:
        said.append("One seed has no interval, so these numbers order nothing.")
    else:
        said.append(f"{_named(group, known)}.")
    return [*said, *_beside_baselines(group, known)]


def _order(group: Group, known: Sequence[tuple[Run, Estimate]]) -> list[str]:
    """The best run, those whose intervals overlap its, and those behind it."""
    sign = 1 if group.higher_is_better else -1
    ranked = sorted(known, key=lambda pair: -sign * pair[1].mean)
    (_, best), rest = ranked[0], ranked[1:]
    alike = [p for p in rest if p[1].low <= best.high and best.low <= p[1].high]
    behind = [pair for pair in rest if pair not in alike]
    said = [f"Best by its mean: {_named(group, ranked[:1])}."]
    if alike:
        said.append(f"Not told apart from it: {_named(group, alike)}.")
    if behind:
        said.append(f"Behind it, by more than the intervals: {_named(group, behind)}.")
    return said


def _beside_baselines(group: Group, known: Sequence[tuple[Run, Estimate]]) -> list[str]:
    """The runs that are not better than the best predictor without a model."""
    if not group.baselines:
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
        return [f"All are better than {what}."]
    if len(below) == len(known):
        return [f"None is better than {what}, by more than its interval."]
    return [f"Not better than {what}: {_named(group, below)}."]


def _failures(group: Group) -> str:
    names = ", ".join(group.labels[r.directory] for r in group.runs if r.failed)
    return f"Failed: {names}."


def _named(group: Group, pairs: Sequence[tuple[Run, Estimate]]) -> str:
    """Names with scores, as in `softmax 99.8 ± 0.2, linear 93.9 ± 4.4 (accuracy, %)`."""
    words = [
        f"{group.label(run)} {metric_text(group.metric, score, with_n=False)}"
        for run, score in pairs
    ]
    return f"{', '.join(words)} ({metric_label(group.metric)})"
