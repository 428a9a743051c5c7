"""Heat maps of attention: a grid of layers and heads, in square-root colour scale."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from attn.errors import UserError
from attn.plots.style import Theme, new_figure
from attn.records.comparison import Group
from attn.records.maps import Maps
from attn.records.run import Run, read_maps

COLUMNS = 2
MOST = 8
"""The number of heads of a picture; the page has them all."""
MAP_WIDTH = 11.0
"""The width in inches at which the tokens of 64 can be read."""
LABELLED = 64
"""The number of tokens whose labels can be read."""


def maps_of(runs: Sequence[Run]) -> tuple[list[tuple[Run, Maps]], list[str]]:
    """The maps that runs saved, and the reasons for those that cannot be read."""
    found, problems = [], []
    # What lies in the folder of an unfinished run may be of an end before.
    for run in (run for run in runs if not run.unfinished):
        try:
            maps = read_maps(run)
        except UserError as error:
            problems.append(str(error))
            continue
        if maps is not None and maps.layers:
            found.append((run, maps))
    return found, problems


def file_name(group: Group, run: Run) -> str:
    """The file name: `maps_`, and what distinguishes the run in its group.

    Labels that differ in signs alone are numbered.
    """
    at = [other.directory for other in group.runs].index(run.directory)
    *before, own = (_slug(group.label(other)) for other in group.runs[: at + 1])
    number = f"-{before.count(own) + 1}" if own in before else ""
    return f"maps_{own}{number}"


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def draw_maps(maps: Maps, label: str, title: str, family: str, theme: Theme) -> Figure:
    """Plots the heads of every layer, queries down, keys across, in one scale.

    Of more than `MOST` heads, those whose largest weight away from the token itself and
    from the first is largest. The scale ends at 1, or at the largest weight where a
    mechanism goes beyond it; weights below 0 (some mechanisms have them) are drawn by
    magnitude, as its label says.
    """
    every = [
        (name, head, values[head])
        for name, values in maps.layers.items()
        for head in range(len(values))
    ]
    telling = sorted(range(len(every)), key=lambda i: -_reach(every[i][2]))[:MOST]
    heads = [every[i] for i in sorted(telling)]
    per_layer = min(COLUMNS, len(heads))
    lines = -(-len(heads) // per_layer)
    side = (MAP_WIDTH - 1.4) / COLUMNS
    shapes = [values.shape for _, _, values in heads]
    tall = [
        max(T / S for T, S in shapes[at : at + per_layer])
        for at in range(0, len(heads), per_layer)
    ]
    height = 0.7 + sum(side * ratio + 0.18 for ratio in tall)
    figure = new_figure(theme, height, width=1.4 + per_layer * side)
    panels = figure.subplots(
        lines, per_layer, squeeze=False, gridspec_kw={"height_ratios": tall}
    )
    top = max(1.0, max(float(np.abs(values).max()) for values in maps.layers.values()))
    for index, axes in enumerate(panels.flat):
        axes.set_visible(index < len(heads))
    for index, (name, head, values) in enumerate(heads):
        axes = panels.flat[index]
        image = axes.imshow(
            np.abs(values),
            cmap=theme.ramp(family),
            norm=PowerNorm(0.5, 0.0, top),
            interpolation="nearest" if max(values.shape) <= 256 else "antialiased",
        )
        said = f"{name.replace('_', ' ')} · head {head}"
        axes.set_title(said, color=theme.soft, size=7.5, pad=3)
        queries, keys = maps.edges(name)
        # Beside each other, layers of two stacks differ in their tokens.
        outer = len(maps.source_labels) == 0
        bottom = not outer or index + per_layer >= len(heads)
        _edges(axes, theme, side, (keys if bottom else (),
               queries if not outer or index % per_layer == 0 else ()), values.shape)  # fmt: skip
    bar = figure.colorbar(image, ax=panels, shrink=min(1.0, 2.2 / height), aspect=14)
    ticks = [0.0, 0.01, 0.05, 0.2, 0.5, 1.0]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, colors=theme.soft, length=2)
    bar.outline.set_visible(False)
    below = any((values < 0).any() for values in maps.layers.values())
    what = "size of the weight; some are negative" if below else "weight"
    bar.set_label(f"{what} (square-root scale)", color=theme.soft, size=7.5)
    some = "" if len(heads) == len(every) else f", {len(heads)} of {len(every)} heads"
    figure.suptitle(
        f"Where {label} looks: {title}{some}", x=0.01, ha="left", color=theme.ink,
        size=11, weight="bold", parse_math=False,
    )  # fmt: skip
    figure.supxlabel("key", color=theme.soft, size=8)
    figure.supylabel("query", color=theme.soft, size=8)
    return figure


def _reach(values: Float[np.ndarray, "T S"]) -> float:
    """The largest weight of a key that is neither the query's own nor the first."""
    far = np.abs(values).astype(np.float32)
    far[np.eye(*far.shape, dtype=bool)] = 0.0
    return float(far[:, 1:].max(initial=0.0))


def _edges(
    axes: Axes,
    theme: Theme,
    side: float,
    labels: tuple[tuple[str, ...], tuple[str, ...]],
    shape: tuple[int, ...],
) -> None:
    """Labels the edges with every token of keys and of queries, where they can be read."""
    for spine in axes.spines.values():
        spine.set(color=theme.faint, linewidth=0.6)
    axes.tick_params(length=0, colors=theme.soft, pad=2)
    for axis, texts, count in zip((axes.xaxis, axes.yaxis), labels, shape[::-1]):
        points = min(7.0, 0.9 * side * 72 / max(shape))
        shown = list(range(count)) if texts and count <= LABELLED else []
        texts = [_short(texts[position]) for position in shown]
        axis.set_ticks(shown, texts, fontsize=points, parse_math=False)
        if axis is axes.xaxis:
            axes.tick_params(axis="x", labelrotation=90)


def _short(label: str) -> str:
    text = label.replace("\n", "⏎")
    return text if len(text) <= 9 else f"{text[:8]}…"
