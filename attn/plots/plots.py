"""Plots of results: learning curves, quality against cost, heads, attention maps.

Every picture is drawn on light and on dark by the same function; PNG files carry no
date, so the same numbers give the same bytes.
"""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from attn.plots.costs import draw_memory, draw_speed
from attn.plots.heat import draw_maps, file_name, maps_of
from attn.plots.lines import draw_curves, draw_heads
from attn.plots.style import LIGHT, Theme
from attn.records.comparison import Group, group_runs
from attn.records.run import Run

Draw = Callable[[Group, Theme], Figure | None]
PICTURES: Mapping[str, tuple[Draw, str, str]] = {
    "curves": (
        draw_curves,
        "Learning",
        "Validation split: mean over seeds and 95 % interval; the other families in grey. "
        "Dotted: predictors without a model.",
    ),
    "speed": (
        draw_speed,
        "Quality against time",
        "Test split: mean over seeds and 95 % interval, time of one seed. The thin line "
        "is the Pareto front: no other run is better for less. Dotted: predictors without a model.",
    ),
    "memory": (
        draw_memory,
        "Quality against memory",
        "Test split: mean over seeds and 95 % interval. Scratch memory is what a training "
        "step of all seeds needs beside its arguments. The thin line is the "
        "Pareto front: no other run is better for less.",
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
    figure.savefig(raw, format="png", metadata={"Software": None})
    picture = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def save_all(runs: Sequence[Run], directory: Path) -> tuple[list[Path], list[str]]:
    """Saves every plot that `runs` have the numbers for, as PNG, in the light theme.

    Returns:
      The files, and of the maps that cannot be read, why.
    """
    directory.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    problems: list[str] = []
    for group in group_runs(runs):
        figures = {kind: draw(kind, group, LIGHT) for kind in PICTURES}
        found, unread = maps_of(group.runs)
        problems += unread
        for run, maps in found:
            names = (group.label(run), group.title, run.family)
            figures[file_name(group, run)] = draw_maps(maps, *names, LIGHT)
        for name, figure in figures.items():
            if figure is not None:
                saved.append(directory / f"{group.slug}_{name}.png")
                saved[-1].write_bytes(to_png(figure))
    return saved, problems
