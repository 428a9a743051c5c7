"""Line plots over steps and over heads: learning curves, and head-count sweeps."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

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
from attn.records.comparison import MATCHED, Group, knob_text
from attn.records.estimates import Estimate
from attn.records.knobs import KNOBS, heads_of
from attn.records.run import FAMILIES, Run

Curve = list[tuple[int, Estimate]]
HEADS = ("heads", "kv heads", "head dim", MATCHED)
"""The knobs that change along a line of the plot over heads."""


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


def draw_heads(group: Group, theme: Theme) -> Figure | None:
    """Plots the test metric against the number of heads; a line a mechanism."""
    scale = metric_scale(group.metric)
    lines = _lines_over_heads(group)
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
    end_labels(axes, ends, theme)
    return figure


def _lines_over_heads(group: Group) -> dict[str, list[tuple[Run, Estimate]]]:
    """The runs of each line by its label: a mechanism, and all else in which runs differ."""
    apart = [name for name in group.varying if name not in HEADS]
    apart += [name for name in HEADS[1:] if _varies_alone(group, name, apart)]
    found: dict[tuple[str, ...], list[tuple[Run, Estimate]]] = {}
    for run, score in scored(group):
        if heads_of(run):
            words = (knob_text(name, KNOBS[name](run)) for name in apart)
            found.setdefault((group.mechanism(run), *words), []).append((run, score))
    found = {k: v for k, v in found.items() if len({heads_of(run) for run, _ in v}) > 1}
    return {_line_label(words, [*found]): line for words, line in found.items()}


def _varies_alone(group: Group, name: str, apart: Sequence[str]) -> bool:
    """Whether runs of as many heads differ in a knob, and not in what tells lines apart."""
    seen: dict[Any, set[Any]] = {}
    for run, _ in scored(group):
        same = (group.mechanism(run), heads_of(run), *(KNOBS[n](run) for n in apart))
        seen.setdefault(same, set()).add(KNOBS[name](run))
    return any(len(values) > 1 for values in seen.values())


def _line_label(words: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> str:
    """The mechanism, and those words in which lines of it differ."""
    peers = [other for other in every if other[0] == words[0]]
    telling = (len(set(column)) > 1 for column in zip(*peers))
    return " · ".join([words[0], *(w for w, tells in zip(words, telling) if tells)])
