"""Plots of time against tokens: a panel a case and a line a library; or by family."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.bench.measure import Spread
from attn.bench.ours import OURS
from attn.bench.record import GrowthRecord, Record
from attn.plots.style import (
    DPI,
    FAMILY_NAMES,
    MARKERS,
    Theme,
    dress,
    new_figure,
    spread,
)

LABEL = 0.135
"""Inches from one label to the next."""
LIBRARIES = {
    "attn": ("o", "dense"),
    "jax": ("s", "other"),
    "flax": ("v", "other"),
    "torch": ("^", "sparse"),
    "attnax": ("D", "lowrank"),
}
"""The marker of each library, and the family whose hue it has."""
STYLES = ("-", (0, (5, 1.2)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))

Times = Mapping[int, Spread]
"""Milliseconds by tokens."""


@dataclass(frozen=True)
class Line:
    """A line of a panel."""

    name: str
    times: Times
    colour: Any
    marker: str
    style: Any = "-"
    width: float = 1.0
    crossing: int | None = None
    """The number of tokens from which it is faster than softmax."""
    bars: bool = False
    """Whether the minimum and the maximum time are drawn."""


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its colour and its lines."""

    title: str
    colour: Any
    lines: Sequence[Line]


def draw(record: Record, theme: Theme) -> Figure | None:
    """Draws all panels, log-log, two in a row; None where no case has two lengths."""
    panels = (_by_family if record.growth else _by_case)(record, theme)
    if not panels:
        return None
    lines = [
        max(len(p.lines) for p in panels[i : i + 2]) for i in range(0, len(panels), 2)
    ]
    heights = [max(1.7, 0.5 + LABEL * (count + 1)) for count in lines]
    figure = new_figure(theme, 0.8 + sum(heights) + 0.25 * len(heights))
    one_scale = bool(record.growth)
    grid = figure.subplots(
        *(len(heights), 2), squeeze=False, sharex=one_scale, sharey=one_scale,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axes, panel in zip(grid.flat, panels):
        _panel(axes, panel, theme)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("ms a call")
    title, below = _words(record)
    figure.suptitle(title, x=0.01, ha="left", color=theme.ink, size=12, weight="bold")
    figure.supxlabel(below, color=theme.soft, size=8.5)
    figure.draw_without_rendering()  # so that panels have their sizes
    for axes, panel in zip(grid.flat, panels):
        _label(axes, panel.lines)
    return figure


def _words(record: Record) -> tuple[str, str]:
    if not record.growth:
        below = "tokens; median of the rounds, bars from the least to the greatest"
        return f"Time against tokens: {record.suite}", below
    case = record.cases[0]
    return (
        "Time against tokens, every mechanism beside softmax",
        f"tokens T; {case.shape_at_any_length}, {case.dtype}; median of the rounds; "
        "a ring: faster than softmax from there on",
    )


def times_by_case(record: Record) -> dict[str, dict[str, Times]]:
    """Times by panel and rival, where at least two lengths were timed."""
    found: dict[str, dict[str, dict[int, Spread]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for case in record.cases:
        title = (
            f"{case.mask}, {case.dtype}, {case.direction}, {case.shape_at_any_length}"
        )
        for row in case.rows:
            if row.ms is not None:
                found[title][row.rival][case.tokens] = row.ms
    return {
        title: dict(lines)
        for title, lines in found.items()
        if len({tokens for line in lines.values() for tokens in line}) > 1
    }


def _by_case(record: Record, theme: Theme) -> list[Panel]:
    return [
        Panel(
            title,
            theme.ink,
            [_library(name, line, theme) for name, line in own.items()],
        )
        for title, own in times_by_case(record).items()
    ]


def _library(name: str, times: Times, theme: Theme) -> Line:
    marker, family = LIBRARIES.get(name.replace(".", " ").split()[0], ("P", "other"))
    style = "-" if name in (OURS, "jax.nn", "torch sdpa") else "--"
    width = 2.0 if name == OURS else 1.0
    return Line(name, times, theme.hue(family), marker, style, width, bars=True)


def _by_family(record: Record, theme: Theme) -> list[Panel]:
    """Makes a row of panels a family and a column a direction, softmax in each."""
    found = []
    for family in dict.fromkeys(one.family for one in record.growth):
        own = [one for one in record.growth if one.family == family]
        # Shades rise with the cost of training, about as the labels do, in both columns.
        trained = {one.rival: _times(record, one) for one in own if one.backward}
        names = sorted(trained, key=lambda name: _most(trained[name]))
        names = [name for name in names if name != OURS]
        shades = dict(zip(names, theme.shades(family, len(names)))) if names else {}
        for backward in (False, True):
            by_name = {one.rival: one for one in own if one.backward == backward}
            lines = [
                Line(
                    by_name[name].mechanism,
                    _times(record, by_name[name]),
                    shades[name],
                    MARKERS.get(family, "P"),
                    STYLES[i % len(STYLES)],
                    crossing=_crossing(by_name[name]),
                )
                for i, name in enumerate(names)
            ]
            ours = next(
                o for o in record.growth if (o.rival, o.backward) == (OURS, backward)
            )
            softmax = Line(
                "softmax", _times(record, ours), theme.hue("dense"), "o", width=2.4
            )
            title = f"{FAMILY_NAMES.get(family, family)}, {ours.direction}"
            shown = [line for line in (*lines, softmax) if line.times]
            found.append(Panel(title, theme.hue(family), shown))
    return found


def _times(record: Record, one: GrowthRecord) -> Times:
    rows = {
        c.tokens: c.row(one.rival) for c in record.cases if c.backward == one.backward
    }
    times = {tokens: row.time for tokens, row in rows.items() if row is not None}
    return {tokens: time for tokens, time in sorted(times.items()) if time is not None}


def _most(times: Times) -> float:
    return max((time.median for time in times.values()), default=math.inf)


def _crossing(one: GrowthRecord) -> int | None:
    at = one.crossover
    return at.tokens if at is not None and at.kind == "at" else None


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
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:,g}")
    axes.set_title(panel.title, loc="left", size=8.5, color=panel.colour)


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
        )  # fmt: skip
        axes.annotate(
            line.name, (1.06, slot), xycoords="axes fraction", color=line.colour,
            fontsize=8, va="center", weight="bold" if line.width > 1 else "normal",
            annotation_clip=False, parse_math=False,
        )  # fmt: skip
