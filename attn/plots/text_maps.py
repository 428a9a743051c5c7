"""Pictures of attention on texts: all heads of a kind in one, or one head in large."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attn.plots.style import Theme, new_figure

Kind = Literal["encoder", "layer", "cross"]
"""An encoder's layers beside a decoder, the model's own, and its cross-attention."""
TOKEN, GAP = 0.085, 2
"""Inches of a token in the picture of all heads, and tokens between two maps."""
LARGE = 6.0, 0.42
"""Inches of one large map, and the most of one of its tokens."""
LETTERS_AN_INCH = 16
"""Letters of a title in an inch."""
LETTERS = 12
"""Letters of a label; the rest is cut off."""
TICKS = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class LayerMap:
    """The maps of all heads of one layer on one text."""

    kind: Kind
    number: int
    """The layer among those of its kind, from 0, as the literature numbers them."""
    family: str
    """The family of its mechanism."""
    values: Float[np.ndarray, "N T S"]
    queries: tuple[str, ...]
    """The label of each query."""
    keys: tuple[str, ...]
    """The label of each key."""

    @property
    def name(self) -> str:
        """The name of the layer, as in `cross 1`."""
        return f"{self.kind} {self.number}"


Text = tuple[str, Sequence[LayerMap]]
"""A text, and its maps."""


def scale_of(layers: Sequence[LayerMap]) -> PowerNorm:
    """The square-root scale of colours that some maps share."""
    return PowerNorm(
        0.5, 0.0, max(1.0, *(float(np.abs(m.values).max()) for m in layers))
    )


def draw_layers(texts: Sequence[Text], title: str, theme: Theme) -> Figure:
    """Draws every head of some layers of a kind: a line of maps a layer, or several.

    Texts lie beside or below each other, in one scale. Queries are down, keys across, and the
    tokens of all maps are written once at the outer edges.
    """
    every = [layer for _, layers in texts for layer in layers]
    norm = scale_of(every)
    mosaics = [_Mosaic(layers) for _, layers in texts]
    widths, heights = zip(*(mosaic.inches for mosaic in mosaics))
    # Wide ones lie below each other.
    lines = len(texts) if max(widths) > 1.5 * max(heights) else 1
    ratios = {"height_ratios": heights} if lines > 1 else {"width_ratios": widths}
    if lines > 1:
        width, height = max(widths) + 1.9, sum(heights) + 0.7 + 0.9 * lines
    else:
        width, height = sum(widths) + 1.0 + 0.9 * len(texts), max(heights) + 1.6
    figure = new_figure(theme, height, width=width)
    grid = figure.subplots(
        lines, len(texts) // lines, squeeze=False, gridspec_kw=ratios
    )
    panels = list(grid.flat)
    for axes, mosaic, (text, _) in zip(panels, mosaics, texts):
        _entitle(axes, text, theme, mosaic.inches[0])
        mosaic.draw(axes, norm, theme)
    _finish(figure, panels, every, title, theme)
    return figure


class _Mosaic:
    """All maps of some layers as one image, with room between them."""

    def __init__(self, layers: Sequence[LayerMap]):
        self.layers = layers
        self.N, self.T, self.S = layers[0].values.shape
        self.height, self.width = self.T + GAP, self.S + GAP
        # Deep models have several layers in a line, for a picture that is no tower.
        tall = self.height * len(layers) / (self.width * self.N)
        together = max(1, min(len(layers), round((1.4 * tall) ** 0.5)))
        self.columns, self.lines = self.N * together, -(-len(layers) // together)
        self.shape = self.lines * self.height, self.columns * self.width
        self.inches = self.shape[1] * TOKEN, self.shape[0] * TOKEN

    def panels(self) -> Iterator[tuple[int, int, str, np.ndarray]]:
        """Yields the first row and column, the name and the values of each map."""
        every = [(layer, head) for layer in self.layers for head in range(self.N)]
        for i, (layer, head) in enumerate(every):
            line, column = divmod(i, self.columns)
            name = f"{layer.number}-{head}"
            yield line * self.height, column * self.width, name, layer.values[head]

    def draw(self, axes: Axes, norm: PowerNorm, theme: Theme) -> None:
        """Draws all maps, each with its layer and head above."""
        image, frames = np.full(self.shape, np.nan), []
        for row, column, name, values in self.panels():
            image[row : row + self.T, column : column + self.S] = np.abs(values)
            frames.append(Rectangle((column - 0.5, row - 0.5), self.S, self.T))
            axes.text(column - 0.4, row - 0.8, name, size=6, color=theme.soft)
        ramp = theme.ramp(self.layers[0].family).with_extremes(bad=theme.paper)
        axes.imshow(image, cmap=ramp, norm=norm, interpolation="nearest")
        edge = {"facecolor": "none", "edgecolor": theme.faint, "linewidth": 0.5}
        axes.add_collection(PatchCollection(frames, **edge))
        bottom, right = self.shape
        axes.set(xlim=(-1, right - GAP), ylim=(bottom - GAP, -GAP))
        queries = _repeated(self.layers[0].queries, self.height, self.lines)
        keys = _repeated(self.layers[0].keys, self.width, self.columns)
        _label(axes, queries, keys, 0.86 * TOKEN * 72, theme)


def _repeated(labels: Sequence[str], period: int, times: int) -> list[tuple[int, str]]:
    """The place and text of labels that are written several times."""
    return [(i * period + t, x) for i in range(times) for t, x in enumerate(labels)]


def draw_head(texts: Sequence[Text], head: int, title: str, theme: Theme) -> Figure:
    """Draws one head of one layer in large, texts beside each other in one scale."""
    layers = [layer for _, (layer,) in texts]
    norm = scale_of(layers)
    side, most = LARGE
    token = min(most, side / max(max(layer.values.shape[1:]) for layer in layers))
    widths = [max(layer.values.shape[2] * token, 2.5) for layer in layers]
    height = max(layer.values.shape[1] for layer in layers) * token
    figure = new_figure(theme, height + 1.9, width=sum(widths) + 1.2 + 1.1 * len(texts))
    grid = figure.subplots(1, len(texts), squeeze=False, width_ratios=widths)
    panels = list(grid.flat)
    for axes, width, (text, (layer,)) in zip(panels, widths, texts):
        values, ramp = layer.values[head], theme.ramp(layer.family)
        axes.imshow(np.abs(values), cmap=ramp, norm=norm, interpolation="nearest")
        _entitle(axes, text, theme, width)
        queries, keys = (_repeated(x, 1, 1) for x in (layer.queries, layer.keys))
        _label(axes, queries, keys, min(9.0, 0.86 * token * 72), theme)
        if token > 0.25:
            _write_weights(axes, values, norm, theme)
    _finish(figure, panels, layers, title, theme)
    return figure


def _entitle(axes: Axes, text: str, theme: Theme, inches: float) -> None:
    """Writes the text above its map, as much of it as there is room for."""
    most = int(
        LETTERS_AN_INCH * (inches + 0.9)
    )  # up to the next map, or the scale's end
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    axes.set_title(text, loc="left", color=theme.soft, size=8, pad=8, parse_math=False)


def _write_weights(
    axes: Axes, values: Float[np.ndarray, "T S"], norm: PowerNorm, theme: Theme
) -> None:
    """Writes the weights of 0.05 and more in their cells."""
    for t, s in zip(*np.nonzero(np.abs(values) >= 0.05)):
        dark = norm(abs(values[t, s])) > 0.45
        colour = theme.paper if dark else theme.ink
        text = re.sub(r"\b0\.", ".", f"{values[t, s]:.2f}")
        axes.text(s, t, text, size=5.5, color=colour, ha="center", va="center")


def _label(
    axes: Axes,
    queries: Sequence[tuple[int, str]],
    keys: Sequence[tuple[int, str]],
    points: float,
    theme: Theme,
) -> None:
    """Writes the tokens at the left and below."""
    axes.set_frame_on(False)
    axes.set_facecolor(theme.paper)
    axes.tick_params(length=0, colors=theme.soft, pad=2)
    for axis, ticks in ((axes.yaxis, queries), (axes.xaxis, keys)):
        places, labels = zip(*ticks)
        texts = [_short(label) for label in labels]
        axis.set_ticks(places, texts, fontsize=points, parse_math=False)
    axes.tick_params(axis="x", labelrotation=90)


def _finish(
    figure: Figure,
    panels: Sequence[Axes],
    layers: Sequence[LayerMap],
    title: str,
    theme: Theme,
) -> None:
    """Adds the title, the names of the axes and the scale."""
    norm = scale_of(layers)
    shades = ScalarMappable(norm, theme.ramp(layers[0].family))
    shrink = min(1.0, 2.6 / figure.get_figheight())
    bar = figure.colorbar(shades, ax=panels, shrink=shrink, aspect=14)
    ticks = [tick for tick in TICKS if tick <= (norm.vmax or 1.0)]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, colors=theme.soft, length=2)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    below = any((layer.values < 0).any() for layer in layers)
    what = "size of the weight; some are negative" if below else "weight"
    bar.set_label(f"{what} (square-root scale)", color=theme.soft, size=7.5)
    figure.suptitle(
        title, x=0.01, ha="left", color=theme.ink, size=11, weight="bold",
        parse_math=False,
    )  # fmt: skip
    figure.supxlabel("key", color=theme.soft, size=8)
    figure.supylabel("query", color=theme.soft, size=8)


def _short(label: str) -> str:
    return label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
