"""The common frame of plots of scores: limits, and baselines as thin lines."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from attn.plots.style import DPI, Theme, halo
from attn.plots.units import metric_scale, metric_text
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.run import Run

NAME_INCHES = 0.11
"""The height of a line's name in inches."""
NEAR = 0.5
"""How far beyond the models, in their own range, a baseline is still drawn."""
ROOM = 0.1
"""The empty part at each end of an axis."""


def scored(group: Group) -> list[tuple[Run, Estimate]]:
    """The runs whose score is a number, each with it."""
    pairs = [(run, run.score) for run in group.done]
    return [(run, score) for run, score in pairs if score and math.isfinite(score.mean)]


def limits(group: Group, values: Sequence[float] = ()) -> tuple[float, float]:
    """The limits of an axis: those of the models' own numbers, and what is near them.

    Args:
        values: the numbers that are drawn, as stored; the test scores unless given.
    """
    scale = metric_scale(group.metric)
    ends = [end for _, score in scored(group) for end in (score.low, score.high)]
    drawn = [value * scale for value in values or ends] or [0.0, 1.0]
    low, high = min(drawn), max(drawn)
    span = high - low or 0.1 * abs(high) or 1.0
    if not values:
        near = [value * scale for _, value in group.baselines]
        near = [y for y in near if low - NEAR * span < y < high + NEAR * span]
        low, high = min([low, *near]), max([high, *near])
    room = ROOM * (high - low or span)
    low, high = low - room, high + room
    return (
        (max(low, -3.0), min(high, 103.0))
        if group.metric in ("accuracy", "exact_match")
        else (low, high)
    )


def draw_baselines(axes: Axes, group: Group, theme: Theme) -> None:
    """Draws baselines of the test split as thin dotted lines, named at the left.

    Lines too close for two names share one, in order from the top; those beyond an edge
    are named at it, with their values.
    """
    scale = metric_scale(group.metric)
    low, high = axes.get_ylim()
    gap = (high - low) * NAME_INCHES * DPI / axes.bbox.height
    shown = sorted((value * scale, name) for name, value in group.baselines)
    shared: list[tuple[float, list[str]]] = []
    for y, name in [pair for pair in shown if low <= pair[0] <= high]:
        axes.axhline(y, color=theme.soft, lw=0.8, ls=(0, (1, 2)), zorder=1)
        if shared and y - shared[-1][0] < gap:
            shared[-1] = (y, [name, *shared[-1][1]])
        else:
            shared.append((y, [name]))
    for y, names in shared:
        _name(axes, theme, ", ".join(names), (0, y), ("axes fraction", "data"), 1.5)
    beyond = {
        "\u2191": [p for p in shown if p[0] > high],
        "\u2193": [p for p in shown if p[0] < low],
    }
    for arrow, pairs in beyond.items():
        if pairs:
            values = (
                metric_text(group.metric, Estimate(y / scale, None, 1), with_n=False)
                for y, _ in pairs
            )
            text = ", ".join(
                f"{name} {value}" for (_, name), value in zip(pairs, values)
            )
            top = arrow == "\u2191"
            _name(
                axes,
                theme,
                f"{arrow} {text}",
                (0, 1 if top else 0),
                "axes fraction",
                -8 if top else 2,
            )


def _name(axes: Axes, theme: Theme, text: str, at, coords, dy: float | int) -> None:
    axes.annotate(
        text.replace("_", " "),
        at,
        (3, dy),
        xycoords=coords,
        textcoords="offset points",
        color=theme.soft,
        fontsize=6.5,
        path_effects=halo(theme),
    )
