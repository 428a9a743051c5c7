"""Plots of results: learning curves, quality against cost, heads, attention maps.

Every picture is drawn on light and on dark by the same function; PNG files carry no
date, so the same numbers give the same bytes.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from attn.plots.costs import draw_memory, draw_speed
from attn.plots.heads import draw_heads
from attn.plots.heat import draw_maps, file_name, maps_of
from attn.plots.lines import draw_curves, draw_training
from attn.plots.style import LIGHT, Theme
from attn.plots.tuning import draw_tuning
from attn.records.comparison import Group

Draw = Callable[[Group, Theme], Figure | None]
PICTURES: Mapping[str, tuple[Draw, str, str]] = {
    "curves": (
        draw_curves,
        "Learning",
        "Validation split: mean over seeds and 95 % interval; the other families in grey.",
    ),
    "training": (
        draw_training,
        "Training",
        "Mean over seeds, and over the steps since the point before.",
    ),
    "tuning": (
        draw_tuning,
        "Learning rates",
        "Validation split, mean over the seeds of each rate; filled: the rate that was "
        "taken. Rates that diverged are left out.",
    ),
    "speed": (
        draw_speed,
        "Quality against time",
        "Test split: mean over seeds and 95 % interval; time of one seed, median and "
        "quartiles over calls. The thin line joins runs that are better than all that "
        "cost less, by more than their intervals. Dotted: predictors without a model.",
    ),
    "memory": (
        draw_memory,
        "Quality against memory",
        "Test split: mean over seeds and 95 % interval. Scratch memory is what a training "
        "step of all seeds needs beside its arguments. The thin line joins runs that are "
        "better than all that cost less, by more than their intervals.",
    ),
    "heads": (
        draw_heads,
        "Heads",
        "Test split: mean over seeds and 95 % interval; the model differs in its heads, "
        "the table says in what else. Dotted: predictors without a model.",
    ),
}


def draw(kind: str, group: Group, theme: Theme) -> Figure | None:
    """Draws one of `PICTURES`, with title and caption; None without numbers for it."""
    draw_kind, title, caption = PICTURES[kind]
    figure = draw_kind(group, theme)
    if figure is not None:
        figure.suptitle(
            f"{title}: {group.title}", x=0.01, ha="left", color=theme.ink,
            size=11, weight="bold", parse_math=False,
        )  # fmt: skip
        text = textwrap.fill(caption, 140)
        figure.supxlabel(text, x=0.01, ha="left", color=theme.soft, size=7)
    return figure


def to_png(figure: Figure) -> bytes:
    """Encodes the figure as a PNG of 256 colours (a third of the bytes), undated."""
    raw, small = io.BytesIO(), io.BytesIO()
    with _any_letters():
        figure.savefig(raw, format="png", metadata={"Software": None})
    picture = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


@contextmanager
def _any_letters() -> Iterator[None]:
    """Draws a box, without a warning, for a letter that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def to_svg(figure: Figure) -> bytes:
    """Encodes the figure as SVG, undated; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "attn"}), _any_letters():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@lru_cache(maxsize=64)
def picture(kind: str, group: Group, theme: Theme) -> bytes | None:
    """One of `PICTURES` as PNG, drawn once for all that show it."""
    figure = draw(kind, group, theme)
    return None if figure is None else to_png(figure)


def save_all(
    groups: Sequence[Group], directory: Path, *, svg: bool = False
) -> tuple[list[Path], list[str]]:
    """Saves every plot that there are numbers for, as PNG, in the light theme.

    Args:
      svg: whether to save each as SVG too.

    Returns:
      The files, and of the maps that cannot be read, why.
    """
    directory.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    problems: list[str] = []
    for group in groups:
        for kind in PICTURES:
            png = picture(kind, group, LIGHT)
            if png is not None:
                saved += _save(directory / f"{group.slug}_{kind}.png", png)
                figure = draw(kind, group, LIGHT) if svg else None
                saved += _save_svg(saved[-1], figure)
        found, unread = maps_of(group.runs)
        problems += unread
        for run, maps in found:
            names = (group.label(run), group.title, run.family)
            figure = draw_maps(maps, *names, LIGHT)
            path = directory / f"{group.slug}_{file_name(group, run)}.png"
            saved += _save(path, to_png(figure))
            saved += _save_svg(path, figure if svg else None)
    return saved, problems


def _save(path: Path, content: bytes) -> list[Path]:
    path.write_bytes(content)
    return [path]


def _save_svg(beside: Path, figure: Figure | None) -> list[Path]:
    if figure is None:
        return []
    return _save(beside.with_suffix(".svg"), to_svg(figure))
