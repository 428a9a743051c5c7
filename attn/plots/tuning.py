"""The plot of tuning: the metric on the validation split against the learning rate."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from attn.plots.frame import limits
from attn.plots.style import MARKERS, Theme, dress, end_labels, new_figure
from attn.plots.units import metric_label, metric_scale
from attn.records.comparison import Group

MOST_TICKS = 10
"""The most rates that are written below the axis."""


def draw_tuning(group: Group, theme: Theme) -> Figure | None:
    """Plots each run's grid, a line a run, with the rate that was taken filled."""
    tuned = [(run, run.result.tuning) for run in group.runs if run.result.tuning]
    if not tuned:
        return None
    figure = new_figure(theme, 4.6)
    axes = figure.subplots()
    dress(axes, theme, grid="y")
    axes.set_xscale("log")
    scale, ends, drawn = metric_scale(group.metric), [], []
    for run, tuning in tuned:
        peers = [other for other, _ in tuned if other.family == run.family]
        hue = theme.shades(run.family, len(peers))[peers.index(run)]
        points = [(rate, tuning.score(rate)) for rate in tuning.rates]
        points = [(rate, score) for rate, score in points if math.isfinite(score)]
        rates, scores = np.array(points).T
        marker = MARKERS.get(run.family, MARKERS["other"])
        axes.plot(rates, scores * scale, f"-{marker}", color=hue, lw=1.3, ms=5, mfc=theme.paper)  # fmt: skip
        best = tuning.score(tuning.chosen)
        axes.plot(tuning.chosen, best * scale, marker, color=hue, ms=7, zorder=3)
        ends.append((scores[-1] * scale, group.label(run), hue))
        drawn += [best, *scores.tolist()]
    tried = sorted({rate for _, tuning in tuned for rate in tuning.rates})
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(tried) <= MOST_TICKS:
        axes.set_xticks(tried, [f"{rate:g}" for rate in tried])
    axes.set_ylim(*limits(group, drawn))
    axes.set(
        xlabel="peak learning rate (log scale)",
        ylabel=f"validation {metric_label(group.metric)}",
    )
    end_labels(axes, ends, theme)
    return figure
