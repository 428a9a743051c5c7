"""The picture of a plan: bytes by kind against memory, and time by roof."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.plots.style import Theme, dress, new_figure
from attn.plots.units import memory as bytes_text
from attn.plots.units import milliseconds

GIBI = 2**30


def draw_plan(
    title: str,
    held: Mapping[str, float],
    memory: int | None,
    roofs: Mapping[str, float],
    theme: Theme,
) -> Figure:
    """Draws the bytes of a device by kind beside its memory, and seconds by roof.

    Args:
        held: bytes by kind.
        memory: the bytes of a device; None where they are not known.
        roofs: the least seconds, by what they are spent on; may be empty.
    """
    figure = new_figure(theme, 2.6)
    figure.suptitle(title, color=theme.ink, fontsize=9.5, parse_math=False)
    left, right = figure.subplots(1, 2)
    parts = {name: size for name, size in held.items() if size}
    texts = [bytes_text(size) for size in parts.values()]
    _bars(left, theme, {k: v / GIBI for k, v in parts.items()}, texts, "dense")
    left.set_xlabel("GiB a device")
    if memory is not None:
        left.axvline(memory / GIBI, color=theme.ink, lw=1)
        left.set_xlabel(f"GiB a device; the line is its memory, {bytes_text(memory)}")
    texts = [milliseconds(1e3 * seconds) for seconds in roofs.values()]
    _bars(right, theme, {k: 1e3 * v for k, v in roofs.items()}, texts, "sparse")
    right.set_xlabel("ms of a step at least" if roofs else "no published rates")
    return figure


def _bars(
    axes: Axes, theme: Theme, values: Mapping[str, float], texts: list[str], hue: str
) -> None:
    """Draws horizontal bars, the first on top, each with its number."""
    dress(axes, theme, grid="x")
    rows = range(len(values))
    axes.barh(rows, list(values.values()), color=theme.hue(hue), height=0.6)
    axes.set_yticks(rows, list(values))
    axes.invert_yaxis()
    for row, (value, text) in enumerate(zip(values.values(), texts)):
        axes.annotate(
            text,
            (value, row),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=theme.ink,
        )
    axes.margins(x=0.2)
