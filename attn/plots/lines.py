"""Line plots over steps and over heads: learning curves, and head-count sweeps."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from attn.plots.frame import draw_baselines, limits, scored
from attn.plots.style import (
    FAMILY_NAMES,
    MARKERS,
    Theme,
    dress,
    end_labels,
    new_figure,
)
from attn.plots.units import metric_label, metric_scale
from attn.records.comparison import Group, heads_of
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
            axes.plot(steps, mean, color=theme.faint, linewidth=1, zorder=1)
    ends = []
    for run, colour in zip(mine, theme.shades(family, len(mine))):
        steps, mean, low, high = _arrays(curves[run.directory], scale)
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, mean, color=colour, linewidth=1.6, solid_capstyle="round")
        known = mean[np.isfinite(mean)]
        ends.append((float(known[-1]) if known.size else 0.0, group.label(run), colour))
    title = FAMILY_NAMES.get(family, family)
    axes.set_title(title, loc="left", color=theme.hue(family), size=9.5, weight="bold")
    dress(axes, theme, grid="y")
    axes.set_ylim(*limits(group, every_baseline=True))
    axes.margins(x=0)
    draw_baselines(axes, group, theme)
    end_labels(axes, ends)


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


def draw_heads(group: Group, theme: Theme) -> Figure | None:
    """Plots the test metric against the number of heads; a line a mechanism."""
    scale = metric_scale(group.metric)
    lines: dict[str, list[tuple[Run, Estimate]]] = {}
    for run, score in scored(group):
        if heads_of(run):
            label = group.labels[run.directory].split(" [")[0]
            lines.setdefault(label, []).append((run, score))
    lines = {k: v for k, v in lines.items() if len({heads_of(run) for run, _ in v}) > 1}
    if not lines:
        return None
    figure = new_figure(theme, 4.2)
    axes = figure.subplots()
    dress(axes, theme, grid="y")
    axes.set_xscale("log", base=2)
    ends, counts = [], {heads_of(run) for line in lines.values() for run, _ in line}
    families = {label: line[0][0].family for label, line in lines.items()}
    for number, (label, line) in enumerate(lines.items()):
        line = sorted(line, key=lambda pair: heads_of(pair[0]))
        peers = [other for other in lines if families[other] == families[label]]
        hue = theme.shades(families[label], len(peers))[peers.index(label)]
        # shifted a little, so that intervals of two mechanisms do not overlap
        aside = 1.015 ** (number - (len(lines) - 1) / 2)
        x = [heads_of(run) * aside for run, _ in line]
        y = [score.mean * scale for _, score in line]
        half = [(score.half or 0) * scale for _, score in line]
        marker = MARKERS.get(families[label], MARKERS["other"])
        axes.errorbar(x, y, yerr=half, fmt="none", color=hue, capsize=2.5, elinewidth=1)
        axes.plot(x, y, f"-{marker}", color=hue, lw=1.6, ms=6, mec=theme.paper, mew=0.8)
        ends.append((y[-1], label, hue))
    axes.set_ylim(*limits(group))
    axes.set_xlim(min(counts) / 1.12, max(counts) * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(sorted(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(
        xlabel="query heads (log scale)", ylabel=f"test {metric_label(group.metric)}"
    )
    draw_baselines(axes, group, theme)
    end_labels(axes, ends)
    return figure
