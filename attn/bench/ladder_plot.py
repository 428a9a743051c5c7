"""Time against tokens of every mechanism: a row a family, a column a direction."""

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.bench.growth import milliseconds
from attn.bench.record import GrowthRecord, Record
from attn.bench.rivals import OURS
from attn.plots.style import (
    DPI,
    FAMILY_NAMES,
    MARKERS,
    Theme,
    dress,
    new_figure,
    spread,
)

Line = Mapping[int, float]
LABEL = 0.135
"""Inches from one label to the next."""
STYLES = ("-", (0, (5, 1.2)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


def draw_ladder(record: Record, theme: Theme) -> Figure:
    """Each mechanism beside softmax, the same line in every panel; log-log.

    A ring is where a mechanism overtakes softmax.
    """
    families: dict[str, list[GrowthRecord]] = {}
    for one in record.growth:
        families.setdefault(one.family, []).append(one)
    figure, grid = _grid(theme, [len(own) // 2 for own in families.values()])
    times = {key: line(record, *key) for key in _keys(record)}
    ends = {}
    for row, (family, own) in zip(grid, families.items()):
        for axes, backward in zip(row, (False, True)):
            mine = [one for one in own if one.backward == backward]
            ends[axes] = _panel(axes, theme, family, mine, times)
            name = FAMILY_NAMES.get(family, family)
            title = f"{name}, {'forward + backward' if backward else 'forward'}"
            hue = theme.hue(family)
            axes.set_title(title, loc="left", size=9, color=hue, weight="bold")
    _frame(figure, grid, record, theme)
    figure.draw_without_rendering()  # so that panels have their sizes
    for axes, own in ends.items():
        _label(axes, own)
    return figure


def _grid(theme: Theme, lines: list[int]):
    """A row a family, as high as the names of its lines need."""
    heights = [max(1.7, 0.5 + LABEL * (count + 1)) for count in lines]
    figure = new_figure(theme, height=0.8 + sum(heights) + 0.25 * len(heights))
    ratios = {"height_ratios": heights}
    return figure, figure.subplots(
        *(len(heights), 2), squeeze=False, sharex=True, sharey=True, gridspec_kw=ratios
    )


def _keys(record: Record) -> list[tuple[str, bool]]:
    return [(one.rival, one.backward) for one in record.growth]


def line(record: Record, rival: str, backward: bool) -> Line:
    """Milliseconds of a rival by tokens, where there are any."""
    found = {}
    for case in record.cases:
        row = case.row(rival)
        if case.backward == backward and row is not None:
            ms = milliseconds(row)
            if ms is not None:
                found[case.tokens] = ms
    return dict(sorted(found.items()))


def _panel(axes: Axes, theme: Theme, family: str, own: list[GrowthRecord], times):
    """Draws the lines; gives (last tokens, last ms, name, colour) of each."""
    dress(axes, theme)
    ends = []
    others = [one for one in own if one.rival != OURS]
    # Shades rise with the cost of training, about as the labels do, in both columns.
    others.sort(key=lambda one: max(times[one.rival, True].values(), default=math.inf))
    shades = theme.shades(family, len(others)) if others else []
    for index, (one, shade) in enumerate(zip(others, shades)):
        mine = times[one.rival, one.backward]
        if not mine:
            continue
        axes.plot(
            list(mine), list(mine.values()), color=shade, linewidth=1.2,
            linestyle=STYLES[index % len(STYLES)], marker=MARKERS.get(family, "P"),
            markersize=2.5,
        )  # fmt: skip
        _ring(axes, theme, one, mine, shade)
        ends.append((*list(mine.items())[-1], one.mechanism, shade, False))
    ours = times.get((OURS, own[0].backward)) if own else None
    if ours:
        hue = theme.hue("dense")
        axes.plot(list(ours), list(ours.values()), color=hue, linewidth=2.4, marker="o", markersize=4)  # fmt: skip
        ends.append((*list(ours.items())[-1], "softmax", hue, True))
    return ends


def _ring(axes: Axes, theme: Theme, one: GrowthRecord, mine: Line, shade) -> None:
    """Where the line crosses that of softmax, if it does between two lengths."""
    if one.crossover is None or one.crossover.kind != "at":
        return
    x = one.crossover.tokens
    before = max((t for t in mine if t <= x), default=min(mine))
    after = min((t for t in mine if t >= x), default=max(mine))
    share = 0.0 if before == after else math.log(x / before) / math.log(after / before)
    y = mine[before] ** (1 - share) * mine[after] ** share
    axes.plot(x, y, "o", markersize=6, markerfacecolor=theme.paper, markeredgecolor=shade, markeredgewidth=1.4, zorder=5)  # fmt: skip


def _frame(figure: Figure, grid, record: Record, theme: Theme) -> None:
    lengths = sorted({case.tokens for case in record.cases})
    for axes in grid.flat:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(lengths, [f"{tokens:,}" for tokens in lengths])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:,g}")
    for axes in grid[:, 0]:
        axes.set_ylabel("ms a call")
    shape = record.cases[0].shape.replace(
        f" x {record.cases[0].tokens} x ", " x T x ", 1
    )
    figure.suptitle(
        "Time against tokens, every mechanism beside softmax",
        x=0.01, ha="left", color=theme.ink, size=12, weight="bold",
    )  # fmt: skip
    figure.supxlabel(
        f"tokens T; {shape}, {record.cases[0].dtype}; median of the rounds; "
        "a ring: faster than softmax from there on",
        color=theme.soft, size=8.5,
    )  # fmt: skip


def _label(axes: Axes, ends) -> None:
    """Names right of the frame, none overlapping, each with a thin line from its end."""
    (low, high), inches = axes.get_ylim(), axes.bbox.height / DPI
    across = axes.get_xlim()

    def place(y: float) -> float:
        return math.log(y / low) / math.log(high / low)

    def along(x: int) -> float:
        return math.log(x / across[0]) / math.log(across[1] / across[0])

    wanted = [place(y) for _, y, *_ in ends]
    slots = spread(wanted, LABEL / inches, 0.0, 1.0)
    for (x, _, text, colour, strong), y, slot in zip(ends, wanted, slots):
        axes.plot(
            [along(x) + 0.012, 1.0, 1.05], [y, y, slot], color=colour, linewidth=0.5,
            alpha=0.8, transform=axes.transAxes, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            text, (1.06, slot), xycoords="axes fraction", color=colour, fontsize=8,
            va="center", weight="bold" if strong else "normal",
            annotation_clip=False, parse_math=False,
        )  # fmt: skip
