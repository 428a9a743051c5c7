"""The images of Pathfinder: layouts as grey levels, with a disc on each of two ends."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from attn.tasks.pathfinder_curves import Keys, uniform
from attn.tasks.pathfinder_layouts import Layouts
from attn.tasks.pathfinder_paddles import Look, table

BEGIN = 3
"""What a number is drawn for: which of the two curves has the first disc."""


def drawn(
    look: Look,
    found: Layouts,
    keys: Keys,
    labels: Int[np.ndarray, " n"],
    distractor_contrast: float,
) -> UInt8[np.ndarray, "n t"]:
    """Draws every layout; the discs are on one curve where the label is 1."""
    paddles, rows = table(look), np.arange(len(labels))
    canvas = np.zeros((len(labels), look.side**2), np.float32)
    for which, number in np.ndindex(found.kinds.shape[1:]):
        ink = look.contrast * paddles.ink[found.kinds[:, which, number]]
        _paint(look, canvas, found.at[:, which, number], ink)
    contrast = look.contrast * distractor_contrast
    for which, number in np.ndindex(found.more_kinds.shape[1:]):
        ink = contrast * paddles.ink[found.more_kinds[:, which, number]]
        ink *= found.placed[:, which, None]
        _paint(look, canvas, found.more_at[:, which, number], ink)
    first = np.floor(2 * uniform(keys, BEGIN)).astype(int)
    second = np.where(labels == 1, first, 1 - first)
    for ends in (found.at[rows, first, 0], found.at[rows, second, -1]):
        _paint(look, canvas, ends, paddles.disc[None])
    image = canvas.reshape(-1, look.side, look.side)
    image = image[:, look.reach : -look.reach, look.reach : -look.reach]
    levels = np.rint(255 * np.minimum(image, 1)).astype(np.uint8)
    return levels.reshape(len(labels), -1)


def _paint(
    look: Look,
    canvas: Float[np.ndarray, "n a"],
    at: Int[np.ndarray, "n 2"],
    ink: Float[np.ndarray, "#n w"],
) -> None:
    """Lays a picture on each canvas; of two inks the brighter stays."""
    places = look.place(at.astype(int))[:, None] + look.window
    there = np.take_along_axis(canvas, places, axis=1)
    np.put_along_axis(canvas, places, np.maximum(there, ink), axis=1)
