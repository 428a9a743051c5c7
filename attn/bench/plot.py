"""Time against tokens, a line a rival, a panel a mask, type and direction."""

import math
from collections import defaultdict

from matplotlib.figure import Figure

from attn.bench.ladder_plot import draw_ladder
from attn.bench.measure import Spread
from attn.bench.record import Record
from attn.plots.style import Theme, dress, end_labels, new_figure

MARKERS = {"attn": "o", "jax": "s", "flax": "v", "torch": "^", "attnax": "D"}
FAMILIES = {"attn": "dense", "torch": "sparse", "attnax": "lowrank"}
"""Whose hue of the report a library wears; the others are grey."""

Lines = dict[str, dict[int, Spread]]


def panels(record: Record) -> dict[str, Lines]:
    """Milliseconds by panel, rival and tokens, where there are two lengths or more."""
    found: dict[str, Lines] = defaultdict(lambda: defaultdict(dict))
    for case in record.cases:
        direction = "forward + backward" if case.backward else "forward"
        # `1 x 4096 x 8 x 64` without the tokens: what a line must have in common.
        others = case.shape.replace(f" x {case.tokens} x ", " x T x ", 1)
        panel = f"{case.mask}, {case.dtype}, {direction}, {others}"
        for row in case.rows:
            if row.ms is not None:
                found[panel][row.rival][case.tokens] = row.ms
    kept = {}
    for panel, lines in found.items():
        lengths = {tokens for line in lines.values() for tokens in line}
        if len(lengths) > 1:
            kept[panel] = dict(lines)
    return kept


def draw(record: Record, theme: Theme) -> Figure | None:
    """All panels, log-log; None where no case comes in two lengths."""
    if record.growth:
        return draw_ladder(record, theme)
    found = panels(record)
    if not found:
        return None
    rows = math.ceil(len(found) / 2)
    figure = new_figure(theme, height=0.6 + 2.6 * rows)
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes, (title, lines) in zip(grid.flat, found.items()):
        dress(axes, theme)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ends = [_line(axes, theme, rival, line) for rival, line in lines.items()]
        lengths = sorted({tokens for line in lines.values() for tokens in line})
        axes.set_xticks(lengths, [f"{tokens:,}" for tokens in lengths])
        axes.set_title(title, loc="left", size=8, color=theme.ink)
        axes.set_ylabel("ms a call")
        _name(axes, ends)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    figure.suptitle(
        f"Time against tokens: {record.suite}",
        x=0.01, ha="left", color=theme.ink, size=11, weight="bold",
    )  # fmt: skip
    figure.supxlabel(
        "tokens; median of the rounds, bars from the least to the greatest",
        color=theme.soft, size=8,
    )  # fmt: skip
    return figure


def _line(axes, theme: Theme, rival: str, line: dict[int, Spread]):
    library = rival.replace(".", " ").split()[0]
    hue = theme.hue(FAMILIES.get(library, "other"))
    tokens = sorted(line)
    medians = [line[t].median for t in tokens]
    low = [line[t].median - line[t].low for t in tokens]
    high = [line[t].high - line[t].median for t in tokens]
    axes.errorbar(
        tokens,
        medians,
        yerr=[low, high],
        color=hue,
        marker=MARKERS.get(library, "P"),
        markersize=4,
        linewidth=2.0 if rival == "attn" else 1.0,
        linestyle="-" if rival in ("attn", "jax.nn", "torch sdpa") else "--",
        elinewidth=0.8,
    )
    return medians[-1], rival, hue


def _name(axes, ends) -> None:
    """Labels at the ends of lines, spread evenly on the log scale."""
    low, high = axes.get_ylim()
    span = math.log(high / low)
    placed = axes.twinx()
    placed.set_ylim(0.0, 1.0)
    placed.axis("off")
    end_labels(placed, [(math.log(y / low) / span, text, hue) for y, text, hue in ends])
