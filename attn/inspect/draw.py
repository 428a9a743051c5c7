"""Plots and tables of approximation error against each mechanism's knob."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from attn.inspect.approximation import Point
from attn.plots.style import MARKERS, Theme, dress, end_labels, new_figure
from attn.plots.tables import Cell, Column, Row, Table
from attn.records.estimates import Estimate, estimate

PANELS = {"sparse": "keys, blocks or rounds that a query sees", "lowrank": "features or landmarks"}  # fmt: skip
"""A panel a family, and what its knobs count."""


def lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each mechanism, by its name in the plot."""
    found: dict[str, list[Point]] = {}
    for point in points:
        aside = ", both ways" if point.keys == "all" else ""
        found.setdefault(f"{point.kernel} ({point.knob}{aside})", []).append(point)
    return found


def draw(points: Sequence[Point], title: str, theme: Theme) -> Figure:
    """Draws small multiples by family, on one scale of errors."""
    figure = new_figure(theme, 3.9)
    both = figure.subplots(1, len(PANELS), sharey=True)
    top = max(1.0, max(point.mean for point in points)) * 1.05
    for axes, (family, counted) in zip(both, PANELS.items()):
        dress(axes, theme)
        own = {n: ps for n, ps in lines(points).items() if ps[0].family == family}
        _panel(axes, theme, own, family)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel(counted)
        axes.set_title(family.replace("low", "low-"), loc="left", size=9, color=theme.ink)  # fmt: skip
        figure.draw_without_rendering()
        ends = [
            (own[name][-1].mean, name, hue)
            for name, hue in zip(own, theme.shades(family, len(own)))
        ]
        end_labels(axes, ends, theme)
    both[0].set_ylabel("distance to softmax, share of its size")
    figure.suptitle(title, x=0.01, ha="left", color=theme.ink, size=11, weight="bold")
    return figure


def _panel(axes, theme: Theme, own: dict[str, list[Point]], family: str) -> None:
    axes.set_xscale("log", base=2)
    for points, hue in zip(own.values(), theme.shades(family, len(own))):
        values, means = [p.value for p in points], [p.mean for p in points]
        axes.plot(values, means, color=hue, marker=MARKERS[family], markersize=4, lw=1.4)  # fmt: skip
        if len(points[0].errors) > 1:
            spread = [estimate(p.errors) for p in points]
            low, high = [s.low for s in spread], [s.high for s in spread]
            axes.fill_between(values, low, high, color=hue, alpha=0.18, lw=0)
    ticks = sorted({p.value for points in own.values() for p in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=7)
    axes.xaxis.set_minor_locator(NullLocator())


def make_table(points: Sequence[Point]) -> Table:
    """Builds the table: a row a mechanism, a column a knob value, errors in percent."""
    values = sorted({point.value for point in points})
    names = [Column("mechanism", text=True), Column("family", text=True)]
    rows = []
    for name, own in lines(points).items():
        by = {point.value: _cell(estimate(point.errors)) for point in own}
        cells = [by.get(value, Cell("")) for value in values]
        rows.append(Row((Cell(name), Cell(own[0].family), *cells)))
    return Table("", (*names, *(Column(str(v)) for v in values)), tuple(rows))


def _cell(error: Estimate) -> Cell:
    half = "" if error.half is None else f" ± {100 * error.half:.1f}"
    return Cell(f"{100 * error.mean:.1f}{half}", error.mean, error.half, error.n)
