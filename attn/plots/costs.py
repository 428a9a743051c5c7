"""Plots of quality against cost: time and scratch memory of a training step."""

import math
import re
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from attn.plots.frame import draw_baselines, limits, scored
from attn.plots.style import MARKERS, Theme, dress, label_points, new_figure
from attn.plots.units import memory, metric_label, metric_scale, quantity
from attn.records.comparison import Group

Text = Callable[[float | int | None], str]


def draw_speed(group: Group, theme: Theme) -> Figure | None:
    """Plots the test metric against the time of a training step."""
    return _draw_cost(group, theme, "step_ms", "ms a step (log scale)", quantity)


def draw_memory(group: Group, theme: Theme) -> Figure | None:
    """Plots the test metric against the scratch memory of a training step.

    Nothing is drawn where it is of different numbers of seeds.
    """
    if not group.compares_memory:
        return None
    what = "scratch memory of a training step (log scale)"
    return _draw_cost(group, theme, "temp_bytes", what, memory)


def _draw_cost(
    group: Group, theme: Theme, field: str, what: str, text
) -> Figure | None:
    """Plots each run as a point with its interval, and the Pareto front."""
    scale = metric_scale(group.metric)
    runs = [pair for pair in scored(group) if (getattr(pair[0].result, field) or 0) > 0]
    costs = [getattr(run.result, field) for run, _ in runs]
    if len(runs) < 2 or max(costs) < 1.02 * min(costs):
        return None  # nothing to weigh
    figure = new_figure(theme, 4.6)
    axes = figure.subplots()
    dress(axes, theme)
    axes.set_xscale("log")
    points, fronts = [], []
    sign = 1 if group.higher_is_better else -1
    for run, score in runs:
        x, hue = getattr(run.result, field), theme.hue(run.family)
        y, half = score.mean * scale, (score.half or 0) * scale
        spread = run.step_ms_spread if field == "step_ms" else None
        aside = spread and [[max(0.0, x - spread[0])], [max(0.0, spread[1] - x)]]
        axes.errorbar(
            x, y, yerr=half or None, xerr=aside, color=hue, elinewidth=1, alpha=0.45,
            zorder=2,
        )  # fmt: skip
        marker = MARKERS.get(run.family, MARKERS["other"])
        axes.plot(x, y, marker, color=hue, ms=7, mec=theme.paper, mew=0.8, zorder=3)
        points.append((x, y, group.label(run), hue))
        ends = sorted((score.low * sign, score.high * sign))
        if score.half is not None:
            fronts.append((spread or (x, x), ends))
    _pareto_front(axes, theme, fronts, scale * sign)
    axes.set_ylim(*limits(group))
    _log_ticks(axes, costs, text)
    axes.set(xlabel=what, ylabel=f"test {metric_label(group.metric)}")
    draw_baselines(axes, group, theme)
    label_points(
        figure, axes, theme, sorted(points, key=lambda point: -sign * point[1])
    )
    return figure


def _pareto_front(
    axes: Axes, theme: Theme, runs: Sequence[tuple], scale: float
) -> None:
    """Draws steps through runs that are better than all that cost less, beyond noise.

    Args:
        runs: of each with an interval the ends of its cost, and of its score where more
            is better.
        scale: from such a score to the axis.
    """
    front: list[tuple] = []
    for cost, score in sorted(runs, key=lambda run: (run[0][0], -run[1][1])):
        if front and score[0] <= front[-1][1][1]:
            continue  # not better for sure
        if front and cost[0] <= front[-1][0][1]:
            front.pop()  # better, and not more expensive for sure
        front.append((cost, score))
    if len(front) > 1:
        xs = [sum(cost) / 2 for cost, _ in front]
        ys = [sum(score) / 2 * scale for _, score in front]
        axes.step(xs, ys, where="post", color=theme.soft, lw=0.7, alpha=0.7, zorder=1)


def _log_ticks(axes: Axes, values: Sequence[float | int], text: Text) -> None:
    """Round tick values with units: 1, 2, 5 of each power, or even steps."""
    low, high = min(values) / 1.25, max(values) * 1.25
    base = 1024 if text is memory else 10
    unit = base ** math.floor(math.log(high, base))
    if high / low < 6:
        ticks = [
            tick * unit for tick in MaxNLocator(6).tick_values(low / unit, high / unit)
        ]
    elif text is memory:
        ticks = [2.0**power for power in range(64)]
    else:
        ticks = [step * 10.0**power for power in range(-6, 12) for step in (1, 2, 5)]
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(text(value))))


def _plain(text: str) -> str:
    """Shortens `8.00 MiB` to `8 MiB`, and `1.50 k` to `1.5 k`."""
    return re.sub(r"(\.\d*?)0+(?= |$)", r"\1", text).replace(". ", " ").rstrip(".")
