"""The table and the picture of swaps: bits per byte over the share of scores kept."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from attn.plots.plots import to_png
from attn.plots.style import LIGHT, Theme, dress, label_points, new_figure
from attn.plots.tables import Cell, Column, Row, Table, to_csv, to_markdown
from attn.plots.units import NONE, metric_label, metric_text
from attn.records.environment import provenance
from attn.records.estimates import Estimate, estimate
from attn.records.swaps import UNMODIFIED, Point, Swaps

METRIC = "bits_per_byte"
CAPTION = (
    "Mean over windows of text, each read alone; ± is half of the 95 % interval. The rise is "
    "over the unmodified weights, trained as much, paired by window (paired t test, n - 1 "
    "degrees). Scores "
    "kept: of those that a causal mask shows, in every head of every layer."
)
STYLE = (
    "Triangles choose keys by content, squares by position or not at all; bars: the rise's "
    "interval."
)
TICKS = (1, 2, 5, 10, 20, 50, 100)


def write(swaps: Swaps, folder: Path) -> list[Path]:
    """Writes the table (Markdown, CSV) and the picture; returns their paths."""
    table = make_table(swaps)
    paths = [folder / f"swap.{kind}" for kind in ("md", "csv", "png")]
    before = [f"# {title(swaps)}", made_by(swaps)]
    paths[0].write_text(to_markdown([table], before, [CAPTION]), encoding="utf-8")
    paths[1].write_text(to_csv([table]), encoding="utf-8")
    paths[2].write_bytes(to_png(draw(swaps, LIGHT)))
    return paths


def title(swaps: Swaps) -> str:
    """The title of the table and of the picture."""
    return f"How much attention {swaps.weights} needs: {swaps.tokens:,} tokens of {swaps.text}"


def made_by(swaps: Swaps) -> str:
    """The machine, versions, commit and data in one line."""
    hashes = ", ".join(x[:12] for x in swaps.weights_sha256.values())
    parts = [f"{swaps.windows} windows, seed {swaps.seed}", f"weights {hashes}"]
    data = f"windows {swaps.windows_sha256[:12]}"
    return provenance(swaps.environments, before=parts, after=[data])


def make_table(swaps: Swaps) -> Table:
    """Builds the table: a row a mechanism and budget, in order of the record."""
    columns = (
        Column("replacement", text=True),
        Column("mechanism", text=True),
        Column("scores kept, %", raw="kept"),
        Column(metric_label(METRIC), raw=METRIC),
        Column("rise", raw="rise"),
    )
    return Table("", columns, tuple(_row(swaps, point) for point in swaps.points))


def _row(swaps: Swaps, point: Point) -> Row:
    rise = swaps.difference(point)
    cells = (
        Cell(point.line),
        Cell("" if point.line == UNMODIFIED else point.kernel),
        Cell(f"{100 * point.kept:.1f}", point.kept),
        _cell(estimate(point.bits)),
        Cell(NONE) if rise is None else _cell(rise),
    )
    return Row(cells, "baseline" if rise is None else "run")


def _cell(of: Estimate) -> Cell:
    return Cell(metric_text(METRIC, of, with_n=False), of.mean, of.half, of.n)


def lines(swaps: Swaps) -> dict[str, list[Point]]:
    """The points of each replacement, from few scores kept to many."""
    found: dict[str, list[Point]] = {}
    for point in sorted(swaps.points, key=lambda point: point.kept):
        found.setdefault(point.line, []).append(point)
    return found


def draw(swaps: Swaps, theme: Theme) -> Figure:
    """Draws a line a mechanism, with the unmodified weights as a dotted line."""
    figure = new_figure(theme, 4.9)
    axes = figure.subplots()
    dress(axes, theme)
    axes.set_xscale("log")
    every = lines(swaps)
    level = estimate(every.pop(UNMODIFIED)[0].bits).mean
    axes.axhline(level, color=theme.soft, lw=1, ls=(0, (1, 2)), zorder=1)
    low = min((100 * p.kept for p in swaps.points), default=100) / 1.2
    labels = [(low, level, UNMODIFIED, theme.soft)]
    top = _top(swaps)
    for name, points, hue, marker in _styled(every, theme):
        xs, ys = [100 * p.kept for p in points], [estimate(p.bits).mean for p in points]
        if min(ys) > top:
            _beyond(axes, f"{name} {min(ys):.2f}", xs[-1], hue)
            continue
        rises = [swaps.difference(p) for p in points]
        axes.errorbar(
            xs, ys, yerr=[(r.half or 0) if r else 0 for r in rises], color=hue,
            marker=marker, ms=5, lw=1.4, elinewidth=0.8, zorder=3,
        )  # fmt: skip
        labels.append((xs[0], ys[0], name, hue))
    axes.set(xlim=(low, 115), ylim=(None, top))
    axes.set(xlabel="share of scores kept, % (log scale)", ylabel=metric_label(METRIC))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([x for x in TICKS if low <= x])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    label_points(figure, axes, theme, labels)
    _words(figure, swaps, theme)
    return figure


def _top(swaps: Swaps) -> float:
    """The upper end of the axis: above all that keep a part of the scores."""
    means = [estimate(p.bits).mean for p in swaps.points if p.kept < 1]
    least = min(estimate(p.bits).mean for p in swaps.points)
    return least + 1.12 * max((mean - least for mean in means), default=1.0)


def _beyond(axes: Axes, text: str, x: float, hue: str) -> None:
    """Names at the upper edge a line that lies above it, with its bits."""
    axes.annotate(
        f"\u2191 {text}", (x, 1), (0, -9), xycoords=("data", "axes fraction"),
        textcoords="offset points", color=hue, fontsize=8, ha="right",
    )  # fmt: skip


def _words(figure: Figure, swaps: Swaps, theme: Theme) -> None:
    """Writes the title and the caption."""
    figure.suptitle(
        title(swaps), x=0.01, ha="left", color=theme.ink, size=11, weight="bold"
    )
    text = textwrap.fill(f"{STYLE} {CAPTION}", 140)
    figure.supxlabel(text, x=0.01, ha="left", color=theme.soft, size=7)


def _styled(
    every: dict[str, list[Point]], theme: Theme
) -> Iterator[tuple[str, list[Point], str, str]]:
    """Yields each line with its colour and its marker, which say who chooses the keys."""
    for by_content, family, marker in ((False, "sparse", "s"), (True, "lowrank", "^")):
        own = {n: ps for n, ps in every.items() if ps[0].by_content == by_content}
        for (name, points), (r, g, b) in zip(
            own.items(), theme.shades(family, len(own))
        ):
            yield name, points, to_hex((r, g, b)), marker
