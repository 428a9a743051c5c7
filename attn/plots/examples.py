"""Pictures of a task's examples, where its tokens are the pixels of an image."""

import numpy as np
from jaxtyping import Integer
from matplotlib.figure import Figure

from attn.plots.style import Theme, new_figure
from attn.tasks.base import Rows

ROWS, COLUMNS = 2, 6


def draw_examples(
    rows: Rows, shape: tuple[int, int], title: str, theme: Theme
) -> Figure:
    """Draws the first examples in grey, with their targets above, in order of these."""
    chosen = spread(np.asarray(rows["targets"])[:, 0], ROWS * COLUMNS)
    figure = new_figure(theme, 3.9)
    every = figure.subplots(ROWS, COLUMNS).ravel()
    for axes in every:
        axes.set_axis_off()
    for axes, row in zip(every, chosen):
        image = np.asarray(rows["tokens"][row]).reshape(shape)
        axes.imshow(image, cmap="gray", interpolation="nearest")
        target = f"target {int(rows['targets'][row, 0])}"
        axes.set_title(target, size=8, color=theme.soft, pad=3)
    figure.suptitle(title, x=0.01, ha="left", color=theme.ink, size=11, weight="bold")
    return figure


def spread(targets: Integer[np.ndarray, " n"], count: int) -> list[int]:
    """The first rows of each target, as even as the count allows, in order of targets."""
    own = [np.flatnonzero(targets == target)[:count] for target in np.unique(targets)]
    ranked = sorted((i, row) for rows in own for i, row in enumerate(rows.tolist()))
    chosen = [row for _, row in ranked[:count]]
    return sorted(chosen, key=lambda row: (targets[row], row))
