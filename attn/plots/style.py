"""The style of plots: one colour and one marker a family, in light and dark themes.

The hues are Okabe and Ito's (2008), told apart with any colour vision; the marker
says the family a second time, and every line and point is labelled where it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

DPI = 150
WIDTH = 8.0  # inches: 1200 pixels
MARKERS = {"dense": "o", "sparse": "s", "lowrank": "^", "recurrent": "D", "other": "P"}
FAMILY_NAMES = {"lowrank": "low-rank"}


@dataclass(frozen=True, eq=False)
class Theme:
    """The colours of a page: background, text, and one hue a family."""

    name: str
    paper: str
    ink: str
    soft: str
    """The colour of axis labels, captions, baselines."""
    faint: str
    """The colour of grids, and of lines that are only context."""
    families: Mapping[str, str]

    def hue(self, family: str) -> str:
        """The colour of a family."""
        return self.families.get(family, self.soft)

    def shades(self, family: str, count: int) -> list[tuple[float, ...]]:
        """Makes `count` shades of one family, from light to dark."""
        hue = to_rgb(self.hue(family))
        levels = (
            [0.0]
            if count == 1
            else [0.7 * i / (count - 1) - 0.25 for i in range(count)]
        )
        ends = [
            to_rgb(self.ink) if level > 0 else to_rgb(self.paper) for level in levels
        ]
        return [
            tuple(h + (e - h) * abs(level) for h, e in zip(hue, end))
            for level, end in zip(levels, ends)
        ]

    def ramp(self, family: str) -> LinearSegmentedColormap:
        """The colour map of heat maps: from background by the family's hue to ink."""
        stops = [(0.0, self.paper), (0.6, self.hue(family)), (1.0, self.ink)]
        return LinearSegmentedColormap.from_list(f"{self.name}-{family}", stops)


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#1c2430",
    soft="#5b6675",
    faint="#dfe3e8",
    families={
        "dense": "#0072b2",
        "sparse": "#c04e00",
        "lowrank": "#00865f",
        "recurrent": "#b0508f",
    },
)
DARK = Theme(
    name="dark",
    paper="#14181f",
    ink="#eef1f5",
    soft="#9aa6b5",
    faint="#2c333e",
    families={
        "dense": "#56b4e9",
        "sparse": "#ef8a3c",
        "lowrank": "#2fc49a",
        "recurrent": "#e08fc0",
    },
)


def new_figure(theme: Theme, height: float, width: float = WIDTH) -> Figure:
    """Makes an empty figure of the report's width, `height` inches high."""
    figure = Figure(
        figsize=(width, height), dpi=DPI, facecolor=theme.paper, layout="constrained"
    )
    FigureCanvasAgg(figure)  # no pyplot: no global state, no display
    return figure


def dress(
    axes: Axes, theme: Theme, *, grid: Literal["both", "x", "y"] = "both"
) -> None:
    """Styles axes: thin grid behind, two quiet spines, small ticks."""
    axes.set_facecolor(theme.paper)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color=theme.faint, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.soft)
        spine.set_linewidth(0.6)
    axes.tick_params(colors=theme.soft, labelsize=8, length=3, width=0.6, which="major")
    axes.tick_params(length=0, which="minor")
    axes.xaxis.label.set(color=theme.soft, fontsize=8.5)
    axes.yaxis.label.set(color=theme.soft, fontsize=8.5)


def end_labels(
    axes: Axes, ends: Sequence[tuple[float, str, object]], theme: Theme
) -> None:
    """Writes each line's name right of the frame, with a leader to the line's end.

    Args:
      axes: with its limits set.
      ends: (y in data units, text, colour) of each line.
    """
    _side_labels(
        axes,
        [((1, y), text, colour) for y, text, colour in ends],
        theme,
        "axes fraction",
    )


def _side_labels(
    axes: Axes,
    points: Sequence[tuple[tuple[float | int, float], str, object]],
    theme: Theme,
    x_coords: str,
) -> None:
    """Writes each name right of the frame, with a leader to its (x, y)."""
    low, high = axes.get_ylim()
    inches = axes.bbox.height / DPI
    gap = (high - low) * 0.14 / inches
    wanted = [min(max(y, low), high) for (_, y), _, _ in points]
    placed = spread(wanted, gap, low, high)
    for y, at, ((x, _), text, colour) in zip(wanted, placed, points):
        axes.annotate(
            text,
            (x, y),
            (1.03, at),
            xycoords=(x_coords, "data"),
            textcoords=("axes fraction", "data"),
            color=colour,
            fontsize=7.5,
            va="center",
            arrowprops=_leader(theme, relpos=(0, 0.5)),
            annotation_clip=False,
            parse_math=False,
        )


def spread(wanted: Iterable[float], gap: float, low: float, high: float) -> list[float]:
    """Moves `wanted` positions apart by at least `gap`, in order, within [low, high].

    When they cannot all fit, the gap shrinks.
    """
    wanted = list(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    placed: dict[int, float] = {}
    edge = low
    for index in order:
        placed[index] = edge = max(wanted[index], edge)
        edge += gap
    edge = high
    for index in reversed(order):
        placed[index] = min(placed[index], edge)
        edge = placed[index] - gap
    return [placed[index] for index in range(len(wanted))]


def label_points(
    figure: Figure,
    axes: Axes,
    theme: Theme,
    points: list[tuple[float | int, float, str, str]],
):
    """Writes each (x, y, text, colour) beside its point, where there is space.

    Earlier points choose first. A label that had to go far gets a thin line to its
    point, and one for which there is no space goes right of the frame.
    """
    without: list[tuple[tuple[float | int, float], str, object]] = []
    figure.draw_without_rendering()
    pixels = [axes.transData.transform(point[:2]) for point in points]
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in pixels]
    frame = axes.get_window_extent()
    for (x, y, text, colour), own in zip(points, list(taken)):
        for dx, dy in _offsets():
            label = axes.annotate(
                text,
                (x, y),
                (dx, dy),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
                color=colour,
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                arrowprops=_leader(theme) if abs(dy) > 12 else None,
                path_effects=halo(theme),
                zorder=5,
            )
            box = label.get_window_extent().padded(2)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 + 4
            inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(o) for o in taken if o is not own):
                break
            label.remove()
        else:
            without.append(((x, y), text, colour))
            continue
        taken.append(box)
    _side_labels(axes, without, theme, "data")


def halo(theme: Theme) -> list[withStroke]:
    """Outlines letters in the background colour, so that lines do not cross them."""
    return [withStroke(linewidth=2.5, foreground=theme.paper, alpha=0.9)]


def _offsets() -> list[tuple[int, int]]:
    """The offsets to try for a label, in points: near first, right before left."""
    near = [(7, 0), (-7, 0), (0, 10), (0, -10), (7, 8), (7, -8), (-7, 8), (-7, -8)]
    ways = [(x, y) for y in (1, -1) for x in (1, -1)]
    far = [(x * 10, y * d) for d in range(14, 60, 6) for x, y in ways]
    return near + far


def _leader(theme: Theme, **more: object) -> dict:
    line = {"arrowstyle": "-", "color": theme.soft, "linewidth": 0.5, "shrinkA": 0}
    return {**line, "shrinkB": 0, **more}
