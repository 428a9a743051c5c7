"""The common frame of plots of scores: limits, and baselines as thin lines."""

import math

from matplotlib.axes import Axes

from attn.plots.style import DPI, Theme, halo
from attn.plots.units import metric_scale
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.run import Run

NAME_INCHES = 0.11
"""The height of a line's name in inches."""


def scored(group: Group) -> list[tuple[Run, Estimate]]:
    """The runs whose score is a number, each with it."""
    pairs = [(run, run.score) for run in group.done]
    return [(run, score) for run, score in pairs if score and math.isfinite(score.mean)]


def limits(group: Group, *, every_baseline: bool = False) -> tuple[float, float]:
    """The limits of an axis, from the worst to the best interval and baseline.

    Accuracy goes from 0 to 100.
    """
    if group.metric == "accuracy":
        return 0.0, 103.0
    baselines = group.baselines if every_baseline else group.baselines[:1]
    ends = [end for _, score in scored(group) for end in (score.low, score.high)]
    values = [*ends, *(value for _, value in baselines)] or [0.0, 1.0]
    values = [value * metric_scale(group.metric) for value in values]
    room = 0.1 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room


def draw_baselines(axes: Axes, group: Group, theme: Theme) -> None:
    """Draws baselines as thin dotted lines, with their names at the left.

    Lines too close for two names share one, in order from the top.
    """
    scale = metric_scale(group.metric)
    low, high = axes.get_ylim()
    gap = (high - low) * NAME_INCHES * DPI / axes.bbox.height
    shown = [(name, value * scale) for name, value in group.baselines]
    shown = sorted((y, name) for name, y in shown if low <= y <= high)
    shared: list[tuple[float, list[str]]] = []
    for y, name in shown:
        axes.axhline(y, color=theme.soft, lw=0.8, ls=(0, (1, 2)), zorder=1)
        if shared and y - shared[-1][0] < gap:
            shared[-1] = (y, [name, *shared[-1][1]])
        else:
            shared.append((y, [name]))
    for y, names in shared:
        axes.annotate(
            ", ".join(names).replace("_", " "),
            (0, y),
            (3, 1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=theme.soft,
            fontsize=6.5,
            path_effects=halo(theme),
        )
