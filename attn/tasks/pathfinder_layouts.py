"""The layouts of Pathfinder: two curves and the distractors of every image.

Two curves grow in turn from paddles near the middle; where one has no room, the image is
begun again. Distractors fill what is left, and one for which there is no room is left out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from attn.tasks.pathfinder_curves import (
    Canvas,
    Curve,
    Keys,
    derived,
    extended,
    fits,
    lay,
    seeded,
    uniform,
)
from attn.tasks.pathfinder_paddles import SEEDS, Look

AT_ONCE = 2048
"""Pairs of curves that are grown at once, at least."""
PATIENCE = 50
"""Rounds without a pair that grew after which curves count as too long."""
SEED_TRIALS = 64
"""Pixels that are tried for the first paddle of a distractor."""
CURVE_TRIALS = 5
"""Times that a distractor is begun."""
MIDDLE, CURVE, DISTRACTOR = range(3)
"""What a number is drawn for."""


@dataclass(frozen=True)
class Plan:
    """The settings that are the same in every image."""

    look: Look
    contour_length: int
    num_distractors: int
    continuity: float

    @property
    def distractor_length(self) -> int:
        """The paddles of a distractor: a third of a curve's, as published."""
        return self.contour_length // 3


@dataclass(frozen=True, eq=False)
class Layouts:
    """The places of the paddles of images, and which of the table they are."""

    at: Int[np.ndarray, "n 2 l 2"]
    """The pixels from which the two curves' paddles are drawn, in their order."""
    kinds: Int[np.ndarray, "n 2 l"]
    more_at: Int[np.ndarray, "n d m 2"]
    """The same of the distractors."""
    more_kinds: Int[np.ndarray, "n d m"]
    placed: Bool[np.ndarray, "n d"]
    """The distractors for which there was room."""


def layouts(plan: Plan, keys: Keys) -> Layouts | None:
    """Grows the image of every key; None where the curves of one find no room."""
    shape = len(keys), 2, plan.contour_length
    at, kinds = np.zeros((*shape, 2), np.int16), np.zeros(shape, np.int16)
    canvas, own = _empty(plan.look, len(keys)), keys.copy()
    waiting, begun, barren = np.arange(len(keys)), 0, 0
    while len(waiting):
        each = max(1, AT_ONCE // len(waiting))
        images = np.repeat(waiting, each)
        tried = derived(keys[images], begun + np.tile(np.arange(each), len(waiting)))
        kept, *pairs = _pairs(plan, tried)
        done, first = np.unique(images[kept], return_index=True)  # earliest attempts
        at[done], kinds[done], canvas[done] = (array[first] for array in pairs)
        own[done] = tried[kept[first]]
        waiting, begun = np.setdiff1d(waiting, done), begun + each
        barren = 0 if len(done) else barren + 1
        if barren == PATIENCE:
            return None
    return _filled(plan, own, at, kinds, canvas)


def _pairs(plan: Plan, keys: Keys) -> tuple[np.ndarray, ...]:
    """Tries each pair of curves once: those that grew, pixels, kinds and canvases."""
    look, length = plan.look, plan.contour_length
    at = np.zeros((len(keys), 2, length, 2), np.int16)
    kinds = np.zeros((len(keys), 2, length), np.int16)
    rows, curves, seen = _begun(look, keys)
    for which in (0, 1):
        at[rows, which, 0], kinds[rows, which, 0] = curves[which].at, curves[which].last
    for number in range(1, length):
        for which in (0, 1):
            drawn = (CURVE, which, number)
            new, found = extended(
                look, plan.continuity, seen[which], curves[which], keys[rows], *drawn
            )
            rows, new = rows[found], new.of(found)
            curves, seen = [c.of(found) for c in curves], [s[found] for s in seen]
            lay(look, seen[which], curves[which])
            lay(look, seen[1 - which], new)
            curves[which] = new
            at[rows, which, number], kinds[rows, which, number] = new.at, new.last
    return rows, at[rows], kinds[rows], np.maximum(*seen)


def _begun(look: Look, keys: Keys) -> tuple[np.ndarray, list[Curve], list[np.ndarray]]:
    """Begins two curves where they have room, each with a canvas of what it must avoid.

    That is all but its own last paddle, which the next one is to be near.
    """
    low, high = 2 * look.apart, look.size - 2 * look.apart
    draws = [uniform(keys, MIDDLE, number) for number in range(5)]
    first_at = low + np.floor(np.stack(draws[:2], axis=1) * (high - low)).astype(int)
    turned, *degrees = (np.floor(SEEDS * drawn).astype(int) for drawn in draws[2:])
    way = np.radians(turned)
    apart = look.apart * np.stack([np.sin(way), np.cos(way)], axis=1)
    first = seeded(first_at, degrees[0])
    second = seeded(np.rint(first_at + apart).astype(int), degrees[1])
    seen = [_empty(look, len(keys)) for _ in range(2)]
    lay(look, seen[0], second)
    lay(look, seen[1], first)
    head = first.at + look.length * first.way
    inside = ((head >= low) & (head < high)).all(axis=1)
    rows = np.flatnonzero(inside & fits(look, seen[0], first.at, first.last))
    return rows, [first.of(rows), second.of(rows)], [s[rows] for s in seen]


def _empty(look: Look, count: int) -> Canvas:
    """Makes canvases on which the images' outermost pixels are taken."""
    canvas = np.zeros((count, look.side, look.side), np.uint8)
    image = canvas[:, look.reach : -look.reach, look.reach : -look.reach]
    image[:, [0, -1]] = image[:, :, [0, -1]] = 255
    return canvas.reshape(count, -1)


def _filled(
    plan: Plan, keys: Keys, at: np.ndarray, kinds: np.ndarray, canvas: Canvas
) -> Layouts:
    """Adds distractors to images, as many as find room."""
    shape = len(keys), plan.num_distractors, plan.distractor_length
    more_at, more_kinds = np.zeros((*shape, 2), np.int16), np.zeros(shape, np.int16)
    placed = np.zeros(shape[:2], bool)
    for number in range(plan.num_distractors):
        for trial in range(CURVE_TRIALS):
            rows = np.flatnonzero(~placed[:, number])
            if not len(rows):
                break
            drawn = (DISTRACTOR, number, trial)
            found, *grown, own = _distractors(plan, canvas[rows], keys[rows], *drawn)
            rows = rows[found]
            more_at[rows, number], more_kinds[rows, number] = grown
            canvas[rows], placed[rows, number] = own, True
    return Layouts(at, kinds, more_at, more_kinds, placed)


def _distractors(
    plan: Plan, canvas: Canvas, keys: Keys, *where: int
) -> tuple[np.ndarray, ...]:
    """Tries a distractor an image once: those that grew, pixels, kinds, canvases."""
    look = plan.look
    rows, curve = _seeds(look, canvas, keys, *where)
    canvas, steps = canvas[rows], [curve]
    for number in range(1, plan.distractor_length):
        new, found = extended(
            look, plan.continuity, canvas, curve, keys[rows], *where, number
        )
        rows, canvas, curve = rows[found], canvas[found], curve.of(found)
        steps = [*(step.of(found) for step in steps), new.of(found)]
        lay(look, canvas, curve)
        curve = steps[-1]
    lay(look, canvas, curve)
    at = np.stack([step.at for step in steps], axis=1)
    return rows, at, np.stack([step.last for step in steps], axis=1), canvas


def _seeds(
    look: Look, canvas: Canvas, keys: Keys, *where: int
) -> tuple[np.ndarray, Curve]:
    """Begins a curve in a random direction, where some pixel is free for it."""
    keys = derived(keys, *where, 0)
    degrees = np.floor(SEEDS * uniform(keys, 0)).astype(int)
    at, left = np.zeros((len(keys), 2), int), np.arange(len(keys))
    for trial in range(SEED_TRIALS):
        if not len(left):
            break
        drawn = [uniform(keys[left], 1 + 2 * trial + axis) for axis in (0, 1)]
        at[left] = np.floor(look.size * np.stack(drawn, axis=1)).astype(int)
        left = left[~fits(look, canvas[left], at[left], degrees[left])]
    rows = np.setdiff1d(np.arange(len(keys)), left)
    return rows, seeded(at[rows], degrees[rows])
