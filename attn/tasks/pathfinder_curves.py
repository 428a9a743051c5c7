"""The curves of Pathfinder: where the paddles of an image lie, for many images at once.

Every image is grown from numbers of its own, which depend on its key and on which draw it
is, never on the images that are grown beside it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt64

from attn.tasks.pathfinder_paddles import MARGIN, SEEDS, Look, Paddles, table

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TRIALS = 3
"""Ends that are tried for a next paddle."""
Keys = UInt64[np.ndarray, " n"]
Canvas = UInt8[np.ndarray, "n a"]


def derived(keys: Keys, *numbers: int | np.ndarray) -> UInt64[np.ndarray, " m"]:
    """Mixes numbers into keys, each by SplitMix64's finalizer (Steele et al. 2014)."""
    for number in numbers:
        keys = keys + (np.atleast_1d(number).astype(np.uint64) + np.uint64(1)) * GOLDEN
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
        keys = keys ^ (keys >> np.uint64(31))
    return keys


def uniform(keys: Keys, *numbers: int) -> Float[np.ndarray, " n"]:
    """Draws a number in [0, 1) for each key and what it is drawn for."""
    return (derived(keys, *numbers) >> np.uint64(11)) * 2.0**-53


@dataclass
class Curve:
    """The ends of some growing curves, one an image."""

    pivots: Int[np.ndarray, "n 2"]
    angles: Float[np.ndarray, " n"]
    last: Int[np.ndarray, " n"]
    """The number of the last paddle in the table."""
    at: Int[np.ndarray, "n 2"]
    """The pixel from which it is drawn."""

    @property
    def way(self) -> Float[np.ndarray, "n 2"]:
        """The directions as vectors of length 1."""
        return np.stack([np.sin(self.angles), np.cos(self.angles)], axis=1)

    def of(self, rows: np.ndarray) -> "Curve":
        """The curves of some rows."""
        return Curve(
            self.pivots[rows], self.angles[rows], self.last[rows], self.at[rows]
        )


def moved(
    at: Int[np.ndarray, "n 2"], angles: Float[np.ndarray, " n"], by: int
) -> Int[np.ndarray, "n 2"]:
    """The pixels at a distance, rounded up as in the original."""
    way = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.ceil(at + by * way - 1e-9).astype(int)


def seeded(at: Int[np.ndarray, "n 2"], degrees: Int[np.ndarray, " n"]) -> Curve:
    """Begins curves with paddles from some pixels."""
    angles = np.radians(degrees)
    return Curve(moved(at, angles, -MARGIN), angles, degrees, at)


def fits(
    look: Look, canvas: Canvas, at: np.ndarray, kinds: np.ndarray
) -> Bool[np.ndarray, " n"]:
    """Tells which paddles keep their distance from all that is on the canvas."""
    places = look.place(at)[:, None] + look.window
    there = np.take_along_axis(canvas, places, axis=1)
    return np.asarray((there < table(look).limits[kinds]).all(axis=1))


def lay(look: Look, canvas: Canvas, curve: Curve) -> None:
    """Puts the space of each curve's last paddle on its canvas."""
    places = look.place(curve.at)[:, None] + look.window
    there = np.take_along_axis(canvas, places, axis=1)
    space = np.maximum(there, table(look).space[curve.last])
    np.put_along_axis(canvas, places, space, axis=1)


def extended(
    look: Look,
    continuity: float,
    canvas: Canvas,
    curve: Curve,
    keys: Keys,
    *where: int,
) -> tuple[Curve, Bool[np.ndarray, " n"]]:
    """Adds a paddle to every curve, and says where there was room for one."""
    paddles = table(look)
    pivots = moved(curve.pivots, curve.angles, look.length + 2 * MARGIN)
    heads = pivots[:, None] + paddles.steps
    sums = np.cumsum(_weights(look, paddles, continuity, canvas, curve, heads), axis=1)
    found = np.zeros(len(keys), bool)
    chosen = np.zeros(len(keys), int)
    open_ = np.flatnonzero(sums[:, -1] > 1e-4)
    for trial in range(TRIALS):
        drawn = uniform(keys[open_], *where, trial) * sums[open_, -1]
        chosen[open_] = (sums[open_] > drawn[:, None]).argmax(axis=1)
        ends = heads[open_, chosen[open_]]
        fit = fits(look, canvas[open_], ends, SEEDS + chosen[open_])
        found[open_[fit]] = True
        open_ = open_[~fit]
    ends = heads[np.arange(len(keys)), chosen]
    new = Curve(pivots, paddles.angles[chosen], SEEDS + chosen, ends)
    return new, found


def _weights(
    look: Look,
    paddles: Paddles,
    continuity: float,
    canvas: Canvas,
    curve: Curve,
    heads: Int[np.ndarray, "n c 2"],
) -> Float[np.ndarray, "n c"]:
    """Weighs each end: the straighter and the freer, the likelier."""
    inside = ((heads >= 0) & (heads < look.size)).all(axis=-1)
    places = look.place(np.clip(heads, 0, look.size - 1))
    near = [0, 1, -1, look.side, -look.side]  # a disc of the margin's radius
    held = [np.take_along_axis(canvas, places + shift, axis=1) for shift in near]
    free = 1 - np.max(held, axis=0) / 255
    turn = np.abs(paddles.angles - curve.angles[:, None]) % (2 * np.pi)
    turn = np.minimum(turn, 2 * np.pi - turn) * continuity
    return inside * free * np.cos(np.minimum(turn, np.pi / 2)) ** 2
