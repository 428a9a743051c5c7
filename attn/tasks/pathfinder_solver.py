"""A solver of Pathfinder that looks at pixels alone: it traces curves paddle by paddle.

It knows how paddles are drawn and how one follows another. It finds every paddle that an
image may hold, takes the likeliest chain of as many as a curve has that begins at a disc,
and answers whether it ends at the other one. So it says how many images carry their answer;
it is no baseline.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from attn.tasks.pathfinder_curves import moved, seeded
from attn.tasks.pathfinder_paddles import MARGIN, SEEDS, Look, table

SLACK = np.int16(1)
"""Grey levels by which a pixel may be off."""
OWN = 204
"""The space of a paddle from which other curves have no ink."""
SHOWN = 0.5
"""The share of a paddle that is not below a disc, for it to count as shown."""
HIDDEN = 3.0
"""The cost of a paddle that is not, unless it is the last; a turn of 60 degrees has 1.4."""
AT_ONCE = 512
"""Images that are solved at once."""

Flat = UInt8[np.ndarray, " a"]
"""The canvases of all images, one behind another."""


@dataclass(frozen=True, eq=False)
class Found:
    """Paddles that images may hold, by their places on the flat canvas."""

    pivots: Int[np.ndarray, " p"]
    heads: Int[np.ndarray, " p"]
    nexts: Int[np.ndarray, " p"]
    """The pivots of paddles that follow."""
    angles: Float[np.ndarray, " p"]
    costs: Float[np.ndarray, " p"]
    """How much brighter than the paddle its space is, in units of 255."""
    shown: Bool[np.ndarray, " p"]


def solved(
    look: Look, images: Integer[np.ndarray, "n t"], contour_length: int
) -> Int[np.ndarray, " n"]:
    """Answers for every image whether its discs lie on one curve, 1 or 0."""
    parts = [_answers(look, canvas, contour_length) for canvas in _flat(look, images)]
    return np.concatenate(parts).astype(int)


def distances(look: Look, images: Integer[np.ndarray, "n t"]) -> Int[np.ndarray, " n"]:
    """The squared distance between the discs of every image."""
    ends = [discs(look, canvas)[0] for canvas in _flat(look, images)]
    first, last = np.concatenate(ends, axis=1)
    down = last // look.side - first // look.side
    return down**2 + (last % look.side - first % look.side) ** 2


def _flat(look: Look, images: Integer[np.ndarray, "n t"]) -> Iterator[Flat]:
    """Yields the canvases of some images at a time."""
    room = (0, 0), (look.reach, look.reach), (look.reach, look.reach)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE].reshape(-1, look.size, look.size)
        yield np.pad(part.astype(np.uint8), room).ravel()


def _answers(look: Look, canvas: Flat, length: int) -> Bool[np.ndarray, " n"]:
    """Tells whether the likeliest chain from one of the discs ends at the other."""
    ends, alone = discs(look, canvas)
    kinds = range(SEEDS, SEEDS + len(table(look).steps))
    found = _joined([_paddles(look, canvas, alone, kind) for kind in kinds])
    at_disc, rows = np.isin(found.heads, ends), found.heads // look.side**2
    best = np.full((2, len(ends[0])), np.inf)
    for first, last in (ends, ends[::-1]):
        costs = _chains(_firsts(look, canvas, alone, first), found, length)
        costs[~(found.shown | at_disc)] = np.inf
        hit = (found.heads == last[rows]).astype(int)
        np.minimum.at(best, (hit, rows), costs)
    return best[1] < best[0]


def discs(look: Look, canvas: Flat) -> tuple[list[np.ndarray], Flat]:
    """The places of each image's two discs, and the discs alone."""
    disc = np.rint(255 * table(look).disc).astype(np.uint8)
    spots = np.flatnonzero(canvas == 255)
    for offset in look.window[disc == 255]:
        spots = spots[canvas[spots + offset] == 255]
    image = spots // look.side**2
    first = spots[np.unique(image, return_index=True)[1]]
    last = spots[len(spots) - 1 - np.unique(image[::-1], return_index=True)[1]]
    alone = np.zeros_like(canvas)
    for offset, level in zip(look.window, disc):
        for place in (first, last):
            alone[place + offset] = np.maximum(alone[place + offset], level)
    return [first, last], alone


def _paddles(look: Look, canvas: Flat, alone: Flat, kind: int) -> Found:
    """The paddles of one kind that images may hold."""
    paddles, levels = table(look), _levels(look, kind)
    spots = np.flatnonzero(np.tile(_inside(look), len(canvas) // look.side**2))
    for pixel in np.argsort(-levels)[: np.count_nonzero(levels)]:
        there = canvas[spots + look.window[pixel]]
        spots = spots[there >= levels[pixel] - SLACK]
    step = paddles.steps[kind - SEEDS]
    angle = paddles.angles[kind - SEEDS]
    on = moved(np.zeros((1, 2), int), np.array([angle]), look.length + 2 * MARGIN)[0]
    pivots = spots - step @ (look.side, 1)
    costs, shown = _costs(look, canvas, alone, spots, kind)
    nexts, angles = pivots + on @ (look.side, 1), np.full(len(spots), angle)
    return Found(pivots, spots, nexts, angles, costs, shown)


def _firsts(look: Look, canvas: Flat, alone: Flat, places: np.ndarray) -> Found:
    """The first paddles that may be drawn from a disc of each image."""
    parts = []
    for degree in range(SEEDS):
        levels = _levels(look, degree)
        there = canvas[places[:, None] + look.window]
        spots = places[(there >= levels - SLACK).all(axis=1)]
        curve = seeded(np.zeros((1, 2), int), np.array([degree]))
        on = moved(curve.pivots, curve.angles, look.length + 2 * MARGIN)[0]
        costs, shown = _costs(look, canvas, alone, spots, degree)
        angles = np.full(len(spots), curve.angles[0])
        nexts = spots + on @ (look.side, 1)
        parts.append(Found(spots, spots, nexts, angles, costs, shown))
    return _joined(parts)


def _costs(
    look: Look, canvas: Flat, alone: Flat, spots: np.ndarray, kind: int
) -> tuple[np.ndarray, np.ndarray]:
    """Computes how much brighter than a paddle its space is, and whether it is shown."""
    levels, own = _levels(look, kind), table(look).space[kind] >= OWN
    places = spots[:, None] + look.window[own]
    disc = alone[places].astype(int)
    more = canvas[places] - np.maximum(disc, levels[own])
    shown = (disc < levels[own]).sum(axis=1) >= SHOWN * np.count_nonzero(levels)
    return np.where(more > SLACK, more, 0).sum(axis=1) / 255, shown


def _levels(look: Look, kind: int) -> Int[np.ndarray, " w"]:
    """The grey levels of a paddle of one of the two curves."""
    ink = look.contrast * table(look).ink[kind]
    return np.rint(255 * np.minimum(ink, 1)).astype(np.int16)


def _inside(look: Look) -> Bool[np.ndarray, " a"]:
    """The places of one canvas that are pixels of its image."""
    inside = np.zeros((look.side, look.side), bool)
    inside[look.reach : -look.reach, look.reach : -look.reach] = True
    return inside.ravel()


def _joined(parts: Sequence[Found]) -> Found:
    """Puts several finds together."""
    names = [field.name for field in fields(Found)]
    return Found(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _chains(firsts: Found, found: Found, length: int) -> Float[np.ndarray, " p"]:
    """The least cost of a chain of paddles that ends with each."""
    start, to, turned = _links(firsts, found)
    links = _links(found, found)
    costs = np.full(len(found.heads), np.inf)
    np.minimum.at(costs, to, firsts.costs[start] + turned + found.costs[to])
    for _ in range(length - 2):
        before = costs + HIDDEN * ~found.shown
        costs = np.full(len(found.heads), np.inf)
        start, to, turned = links
        np.minimum.at(costs, to, before[start] + turned + found.costs[to])
    return costs


def _links(these: Found, those: Found) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds which paddles may follow which, and the cost of each turn."""
    order = np.argsort(those.pivots, kind="stable")
    low, high = (
        np.searchsorted(those.pivots[order], these.nexts, side)
        for side in ("left", "right")
    )
    start = np.repeat(np.arange(len(low)), high - low)
    within = np.arange(len(start)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)  # fmt: skip
    to = order[low[start] + within]
    cosine = np.cos(those.angles[to] - these.angles[start])
    ahead = cosine > 1e-3
    return start[ahead], to[ahead], -2 * np.log(cosine[ahead])
