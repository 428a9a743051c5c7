"""The paddles of Pathfinder: what is drawn of each, and the space that it keeps free.

A paddle is a stroke from a pixel in one of finitely many directions, so every one is a
small picture of a table. Sizes are those of Long Range Arena (Tay et al. 2021;
`lra_benchmarks/data/pathfinder.py`), which names them for each resolution.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int, UInt8

MARGIN = 1
"""Pixels that a paddle keeps free around it."""
TOUCH = 459
"""The sum of two spaces, 1.8 times 255, at which paddles are too near."""
FINE = 16
"""Points along a pixel's side where its brightness is sampled."""
SEEDS = 360
"""Directions of first paddles, a degree each; they come first in a table."""


@dataclass(frozen=True)
class Look:
    """The published sizes, in pixels, and contrasts of the images of one resolution."""

    size: int
    length: int
    thickness: float
    radius: float
    """The radius of a disc."""
    apart: int
    """The distance of the two curves' first paddles."""
    contrast: float
    """The contrast of the two curves that may hold discs; a disc has 1."""
    distractor_contrast: float

    @property
    def reach(self) -> int:
        """The pixels from a paddle's first one to the edge of its picture."""
        return self.length + MARGIN + int(np.ceil(self.thickness))

    @property
    def side(self) -> int:
        """The side of a canvas: an image, with room for pictures that cross its edge."""
        return self.size + 2 * self.reach

    @cached_property
    def window(self) -> Int[np.ndarray, " w"]:
        """The places on a flat canvas of a picture's pixels, from its centre's."""
        along = np.arange(-self.reach, self.reach + 1)
        return (along[:, None] * self.side + along).ravel()

    def place(self, at: Int[np.ndarray, "*n 2"]) -> Int[np.ndarray, "*n"]:
        """The place on a flat canvas of each pixel of an image."""
        return (at[..., 0] + self.reach) * self.side + at[..., 1] + self.reach


LOOKS = {
    32: Look(32, 2, 0.5, 1.5, 7, 1.5, 2.0),
    64: Look(64, 5, 1.0, 2.5, 12, 0.8, 0.8),
}


@dataclass(frozen=True, eq=False)
class Paddles:
    """The table of all paddles of one resolution."""

    steps: Int[np.ndarray, "c 2"]
    """The pixels in which a next paddle may end, from the pivot on which it turns."""
    angles: Float[np.ndarray, " c"]
    """The directions of those steps."""
    ink: Float[np.ndarray, "k w"]
    """The pictures: how much of each pixel is covered."""
    space: UInt8[np.ndarray, "k w"]
    """The same of a paddle and the margin around it, 255 where all of a pixel is."""
    limits: Int[np.ndarray, "k w"]
    """What must not lie there already, for the two to keep their distance."""
    disc: Float[np.ndarray, " w"]


@lru_cache(maxsize=2)
def table(look: Look) -> Paddles:
    """Makes the paddles of a resolution: of each degree, then one for each step."""
    radius = look.length + MARGIN
    around = np.arange(0, 2 * np.pi, 1 / radius)
    circle = np.stack([np.sin(around), np.cos(around)], axis=1)
    steps = np.unique(np.floor(radius * circle).astype(int), axis=0)
    angles = np.arctan2(steps[:, 0], steps[:, 1])
    seeds = np.radians(np.arange(SEEDS))
    rays = np.concatenate([seeds, angles + np.pi])  # a step's is drawn from its end
    wide = look.thickness / 2
    drawn = [_strokes(look, ray, look.length, wide, wide + MARGIN) for ray in rays]
    ink, space = np.stack(drawn, axis=1)
    space = np.rint(255 * space).astype(np.uint8)
    (disc,) = _strokes(look, 0.0, 0, look.radius + 0.25)  # on a grid of half pixels
    return Paddles(steps, angles, ink, space, np.int16(TOUCH) - space, disc)


def _strokes(
    look: Look, angle: float, length: int, *radii: float
) -> Float[np.ndarray, "r w"]:
    """Computes how much of each pixel is within some distances of a line."""
    count = (2 * look.reach + 1) * FINE
    along = (np.arange(count) + 0.5) / FINE - look.reach - 0.5
    y, x = along[:, None], along
    t = np.clip(y * np.sin(angle) + x * np.cos(angle), 0, length)
    away = np.hypot(y - t * np.sin(angle), x - t * np.cos(angle))
    pixels = away.reshape(count // FINE, FINE, count // FINE, FINE)
    return np.stack([(pixels <= r).mean(axis=(1, 3)).ravel() for r in radii])
