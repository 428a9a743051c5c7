"""Plots of masks as small multiples, tile by tile, with their density."""

from collections.abc import Mapping

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attn.errors import UserError
from attn.masks import Mask, Tile
from attn.masks.picture import tile_grid
from attn.plots.style import LIGHT, WIDTH, Theme, new_figure

COLUMNS = 4
TILES = 64  # a side: each is still two or three pixels wide
NAMES = {Tile.EMPTY: "hidden", Tile.PARTIAL: "partly seen", Tile.FULL: "seen"}


def plot_masks(
    masks: Mapping[str, Mask],
    T: int,
    S: int | None = None,
    *,
    tiles: int = TILES,
    theme: Theme = LIGHT,
) -> Figure:
    """Plots a panel a mask, queries down, keys across, in at most `tiles` tiles a side.

    Args:
        masks: by the name to write above each; the expression is below the name where
            it differs.
        T, S: lengths in tokens; S = T where it is None.

    Raises:
        UserError: no masks, or one that was made for other lengths.
    """
    if not masks:
        raise UserError("plot_masks of no masks; give at least one")
    S = T if S is None else S
    across = min(COLUMNS, len(masks))
    lines = -(-len(masks) // across)
    side = (WIDTH - 1.0) / across
    figure = new_figure(theme, 0.85 + lines * (min(side, 3.5) * min(1.0, T / S) + 0.45))
    panels = figure.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(masks) :]:
        axes.set_visible(False)
    colours = shades(theme)
    for axes, (name, mask) in zip(panels.flat, masks.items()):
        grid, block = tile_grid(mask, T, S, tiles)
        rows, columns = grid.shape
        edges = (0, columns * block, rows * block, 0)
        axes.imshow(grid, ListedColormap(colours), vmin=0, vmax=2, extent=edges,
                    interpolation="nearest")  # fmt: skip
        axes.set(xlim=(0, S), ylim=(T, 0))
        _label(axes, theme, name, mask, T, S)
    _legend(figure, theme, colours, T, S)
    return figure


def shades(theme: Theme) -> list[str | tuple[float, ...]]:
    """The colours of EMPTY, PARTIAL and FULL."""
    ramp = theme.ramp("sparse")
    return [theme.faint, ramp(0.3), ramp(0.6)]


def percent(density: float) -> str:
    """Formats a share in three digits, never rounded to 0 % or 100 %."""
    if density in (0.0, 1.0):
        return f"{density:.0%}"
    return f"{min(max(density * 100, 1e-4), 99.9):.3g} %".replace(" ", "")


def _label(axes, theme: Theme, name: str, mask: Mask, T: int, S: int) -> None:
    """Writes name and density above, the expression below, and ticks at the ends."""
    text = f"{name} · {percent(mask.density(T, S))} seen"
    axes.set_title(text, color=theme.ink, size=8, pad=15, loc="left", parse_math=False)
    axes.text(0, 1.02, shortened(repr(mask)), transform=axes.transAxes, size=6,
              color=theme.soft, va="bottom", parse_math=False)  # fmt: skip
    for spine in axes.spines.values():
        spine.set(color=theme.faint, linewidth=0.6)
    axes.tick_params(length=0, colors=theme.soft, pad=2, labelsize=7)
    axes.set_xticks([0, S], ["0", f"{S:,}"])
    axes.set_yticks([0, T], ["0", f"{T:,}"])


def shortened(text: str, most: int = 44) -> str:
    """Shortens `text` to `most` characters, with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _legend(figure: Figure, theme: Theme, colours, T: int, S: int) -> None:
    boxes = [Patch(facecolor=colours[kind], label=NAMES[kind]) for kind in Tile]
    figure.legend(handles=boxes, loc="outside lower right", ncols=3, fontsize=7.5,
                  labelcolor=theme.soft, frameon=False)  # fmt: skip
    figure.suptitle(
        f"What a query sees: {T:,} queries, {S:,} keys", x=0.01, ha="left",
        color=theme.ink, size=11, weight="bold", parse_math=False,
    )  # fmt: skip
    figure.supxlabel("key", color=theme.soft, size=8)
    figure.supylabel("query", color=theme.soft, size=8)
