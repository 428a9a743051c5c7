"""Line plots over steps: learning curves, training losses and gradient norms."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from attn.plots.frame import limits
from attn.plots.style import (
    FAMILY_NAMES,
    Theme,
    dress,
    end_labels,
    new_figure,
)
from attn.plots.units import metric_label, metric_scale
from attn.records.comparison import Group
from attn.records.estimates import Estimate
from attn.records.run import FAMILIES, Run

Curve = list[tuple[int, Estimate]]


def draw_curves(group: Group, theme: Theme) -> Figure | None:
    """Plots the metric against steps: a panel a family, the others faint behind."""
    curves = {run.directory: run.curve() for run in group.runs}
    families = [
        f for f, runs in _families(group) if any(curves[r.directory] for r in runs)
    ]
    if not families:
        return None
    columns = min(2, len(families))
    lines = math.ceil(len(families) / columns)
    figure = new_figure(theme, 0.6 + 2.7 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, family in zip(panels.flat, families):
        _curve_panel(axes, group, theme, family, curves)
        axes.label_outer()
    for axes in panels.flat[len(families) :]:
        axes.set_visible(False)
    for column in panels.T:
        last = [axes for axes in column if axes.get_visible()][-1]
        last.set_xlabel("training step")
        last.tick_params(labelbottom=True)
    figure.supylabel(
        f"validation {metric_label(group.metric)}", color=theme.soft, size=8.5
    )
    return figure


def _curve_panel(
    axes: Axes, group: Group, theme: Theme, family: str, curves: Mapping[Path, Curve]
) -> None:
    scale = metric_scale(group.metric)
    mine = [run for run in group.runs if run.family == family and curves[run.directory]]
    for run in group.runs:
        if run.family != family and curves[run.directory]:
            steps, mean, _, _ = _arrays(curves[run.directory], scale)
            _line(axes, steps, mean, theme.faint, linewidth=1, zorder=1)
    ends = []
    for run, colour in zip(mine, theme.shades(family, len(mine))):
        steps, mean, low, high = _arrays(curves[run.directory], scale)
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
        _line(axes, steps, mean, colour)
        known = mean[np.isfinite(mean)]
        ends.append((float(known[-1]) if known.size else 0.0, group.label(run), colour))
    title = FAMILY_NAMES.get(family, family)
    axes.set_title(title, loc="left", color=theme.hue(family), size=9.5, weight="bold")
    dress(axes, theme, grid="y")
    axes.set_ylim(*_curve_limits(group, curves.values()))
    axes.margins(x=0.01)
    end_labels(axes, ends, theme)


def _line(
    axes: Axes, x, y, colour, linewidth: float | int = 1.6, zorder: int = 2
) -> None:
    """Plots a line, or a dot where there is one point."""
    marker = "o" if len(x) == 1 else ""
    axes.plot(
        x, y, marker=marker, ls="-", color=colour, lw=linewidth, ms=4, zorder=zorder,
        solid_capstyle="round",
    )  # fmt: skip


def _curve_limits(group: Group, curves: Iterable[Curve]) -> tuple[float, float]:
    """Limits around all means, and the interval of each last one."""
    values = [e.mean for curve in curves for _, e in curve]
    values += [end for curve in curves if curve for end in _ends(curve[-1][1])]
    return limits(group, [value for value in values if math.isfinite(value)])


def _ends(e: Estimate) -> tuple[float, float]:
    return e.low, e.high


def draw_training(group: Group, theme: Theme) -> Figure | None:
    """Plots the training loss and the gradient norm against steps, a line a run."""
    runs = [run for run in group.runs if run.metrics]
    if not runs:
        return None
    figure = new_figure(theme, 6.4)
    panels = figure.subplots(2, 1, sharex=True)
    what = {"train_loss": "training loss, nats", "grad_norm": "gradient norm"}
    for axes, (field, name) in zip(panels, what.items()):
        dress(axes, theme, grid="y")
        ends = []
        for run, colour in zip(runs, _hues(runs, theme)):
            lines = [(line.step, getattr(line, field)) for line in run.metrics]
            means = [(step, float(np.mean(values))) for step, values in lines if values]
            if means:
                steps, values = zip(*means)
                _line(axes, steps, values, colour, linewidth=1.1)
                ends.append((means[-1][1], group.label(run), colour))
        axes.set_ylabel(name)
        axes.margins(x=0)
        if field == "train_loss":
            end_labels(axes, ends, theme)
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
    panels[-1].set_xlabel("training step")
    return figure


def _hues(runs: Sequence[Run], theme: Theme) -> list[tuple[float, ...]]:
    """A colour for each run: a shade of its family."""
    peers = Counter(run.family for run in runs)
    shades = {family: iter(theme.shades(family, n)) for family, n in peers.items()}
    return [next(shades[run.family]) for run in runs]


def _arrays(curve: Curve, scale: float) -> tuple[np.ndarray, ...]:
    """Steps, means, lower and upper ends, in the units of the axis."""
    columns = [
        (step, e.mean * scale, e.low * scale, e.high * scale) for step, e in curve
    ]
    return tuple(np.array(columns, dtype=float).T)


def _families(group: Group) -> list[tuple[str, list[Run]]]:
    known = dict.fromkeys([*FAMILIES, *(run.family for run in group.runs)])
    of = {name: [run for run in group.runs if run.family == name] for name in known}
    return [(name, runs) for name, runs in of.items() if runs]
