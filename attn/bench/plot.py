"""Plots of time against tokens: a panel a case and a line a library; or by family."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attn.bench.panels import Line, Panel, make_panels
from attn.bench.record import Record
from attn.plots.style import DPI, Theme, dress, new_figure, spread

LABEL = 0.135
"""Inches from one label to the next."""
TITLE_LINE = 0.15
"""The height of a line of a title in inches."""
FEWEST = 3
"""The fewest ticks that tell a reader the scale of an axis."""


def draw(record: Record, theme: Theme) -> Figure | None:
    """Draws all panels, log-log, two in a row; None where no case has two lengths."""
    panels = make_panels(record, theme)
    if not panels:
        return None
    lines = [
        max(len(p.lines) for p in panels[i : i + 2]) for i in range(0, len(panels), 2)
    ]
    titles = max(panel.title.count("\n") for panel in panels) * TITLE_LINE
    heights = [max(1.7, 0.5 + LABEL * (count + 1)) + titles for count in lines]
    figure = new_figure(theme, 0.8 + sum(heights) + 0.25 * len(heights))
    one_scale = bool(record.growth or record.decoding)
    grid = figure.subplots(
        *(len(heights), 2), squeeze=False, sharex=one_scale, sharey=one_scale,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axes, panel in zip(grid.flat, panels):
        _panel(axes, panel, theme)
    for axes in grid.flat[: len(panels)]:  # when all that share a scale are drawn
        axes.set_yticks(log_ticks(*axes.get_ylim()))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:,g}")
        axes.minorticks_off()
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("ms a step" if record.decoding else "ms a call")
    title, below = _words(record)
    figure.suptitle(title, x=0.01, ha="left", color=theme.ink, size=12, weight="bold")
    figure.supxlabel(below, color=theme.soft, size=8.5)
    figure.draw_without_rendering()  # so that panels have their sizes
    for axes, panel in zip(grid.flat, panels):
        _label(axes, panel.lines)
    return figure


def _words(record: Record) -> tuple[str, str]:
    if record.decoding:
        below = "tokens T that a cache is begun for; median of the rounds"
        return "Time of a decoding step against tokens, beside softmax", below
    if not record.growth:
        below = "tokens; median of the rounds, bars from the least to the greatest"
        return f"Time against tokens: {record.suite}", below
    case = record.cases[0]
    return (
        "Time against tokens, every mechanism beside softmax",
        f"tokens T; {case.shape_at_any_length}, {case.dtype}; median of the rounds; "
        "a ring: faster than softmax from there on",
    )


def _panel(axes: Axes, panel: Panel, theme: Theme) -> None:
    dress(axes, theme)
    for line in panel.lines:
        tokens = sorted(line.times)
        times = [line.times[t] for t in tokens]
        medians = [time.median for time in times]
        bars = [[t.median - t.low for t in times], [t.high - t.median for t in times]]
        axes.errorbar(
            tokens, medians, yerr=bars if line.bars else None, color=line.colour,
            marker=line.marker, markersize=4 if line.bars or line.width > 1 else 2.5,
            linewidth=line.width, linestyle=line.style, elinewidth=0.8,
        )  # fmt: skip
        if line.crossing:
            y = _between(tokens, medians, line.crossing)
            axes.plot(
                line.crossing, y, "o", markersize=6, markerfacecolor=theme.paper,
                markeredgecolor=line.colour, markeredgewidth=1.4, zorder=5,
            )  # fmt: skip
    lengths = sorted({tokens for line in panel.lines for tokens in line.times})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{tokens:,}" for tokens in lengths])
    axes.set_title(panel.title, loc="left", size=8.5, color=panel.colour)


def log_ticks(low: float, high: float) -> list[float]:
    """The ticks of a logarithmic axis: decades, or closer where few of them are shown."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 2, 3, 5, 7), range(1, 10)):
        ticks = [float(f"{step}e{power}") for power in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= FEWEST:
            return ticks
    ticks = MaxNLocator(FEWEST + 1).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _between(tokens: Sequence[int], ms: Sequence[float], at: int) -> float:
    """Interpolates the time at a length on the log-log line."""
    logs = np.interp(np.log(at), np.log(tokens), np.log(ms))
    return float(np.exp(logs))


def _label(axes: Axes, lines: Sequence[Line]) -> None:
    """Writes names right of the frame, without overlap, each joined to its line."""
    to_axes = axes.transData + axes.transAxes.inverted()
    last = [max(line.times) for line in lines]
    ends = [
        to_axes.transform((t, line.times[t].median)) for t, line in zip(last, lines)
    ]
    inches = axes.bbox.height / DPI
    slots = spread([y for _, y in ends], LABEL / inches, 0.0, 1.0)
    for line, (x, y), slot in zip(lines, ends, slots):
        axes.plot(
            [x + 0.012, 1.0, 1.05], [y, y, slot], color=line.colour, linewidth=0.5,
            alpha=0.8, transform=axes.transAxes, clip_on=False,
            linestyle="-" if x > 0.9 else ":",  # across the panel: no line of times
        )  # fmt: skip
        axes.annotate(
            line.name, (1.06, slot), xycoords="axes fraction", color=line.colour,
            fontsize=8, va="center", weight="bold" if line.width > 1 else "normal",
            annotation_clip=False, parse_math=False,
        )  # fmt: skip
