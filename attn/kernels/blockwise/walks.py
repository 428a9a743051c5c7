"""Which tiles of a mask are visited, line by line, and how large they are.

A line is a row of tiles in the forward pass and a column in the backward pass. Tiles
along a line lie on a grid or, where a mask shows each query one interval of keys, side
by side from where the interval of the line begins.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from attn.masks import Mask, Tile, mask_schedule

BLOCKS = (512, 256, 128, 64)
"""Tokens along one side of a tile on a grid."""
SPANS = (1024, 768, 512, 384, 256)
"""Tokens of a tile along its line, off the grid."""
# Costs in scores of a tile that is whole and large, fitted to times on two CPU cores.
LOAD = 32
"""Of reading one token of a tile."""
MASKED = 1.4
"""Of a score that has to be masked."""
MOST_TILES = 2**16
"""Of the widest, beyond which no others are tried."""
ALONE, ALONE_BELOW = 1.6, 2**17
"""Of a score of so few in a head's tile that XLA multiplies them on one core."""


class Cut(NamedTuple):
    """How a map is cut for one pass."""

    line: int
    """Tokens across a line."""
    tile: int
    """Tokens of a tile, along the line."""
    on_grid: bool = True


class Walk(NamedTuple):
    """The tiles of a map as a list for each line."""

    lines: int
    pointers: dict[Tile, Int32[np.ndarray, "lines_and_end"]]
    """Of FULL and of PARTIAL tiles: where each line's begin in `first`."""
    first: dict[Tile, Int32[np.ndarray, "tiles"]]
    """First token of each tile along its line."""

    @property
    def tiles(self) -> int:
        """All that are visited."""
        return sum(first.size for first in self.first.values())


@lru_cache(maxsize=256)
def make_walk(mask: Mask, T: int, S: int, cut: Cut, of_rows: bool) -> Walk | None:
    """The tiles to visit; None off the grid where lines have no intervals."""
    if cut.on_grid:
        sizes = (cut.line, cut.tile) if of_rows else (cut.tile, cut.line)
        schedule = mask_schedule(mask, T, S, *sizes)
        line, other = schedule.row, schedule.column
        if not of_rows:
            order = np.argsort(other, kind="stable")
            line, other = other[order], line[order]
        return _sorted(mask, T, S, cut, of_rows, line, other * cut.tile)
    spans = _row_spans(mask, T, S, cut.line) if of_rows else _column_spans(mask, T, S, cut.line)  # fmt: skip
    if spans is None:
        return None
    low, high = spans
    count = -(-np.maximum(high - low, 0) // cut.tile)
    line = np.repeat(np.arange(low.size), count)
    place = np.arange(line.size) - np.repeat(np.cumsum(count) - count, count)
    return _sorted(mask, T, S, cut, of_rows, line, low[line] + place * cut.tile)


def _sorted(mask, T, S, cut, of_rows, line, first) -> Walk:
    """The walk over tiles in order of lines, each looked at once more."""
    width, length = (T, S) if of_rows else (S, T)
    across = line * cut.line, np.minimum((line + 1) * cut.line, width)
    along = first, np.minimum(first + cut.tile, length)
    kind = np.asarray(mask.tile(*across, *along) if of_rows else mask.tile(*along, *across))  # fmt: skip
    kind = np.broadcast_to(kind, line.shape)
    # What is cut short is padded with other tokens, which must be masked.
    whole = ((line + 1) * cut.line <= width) & (first + cut.tile <= length)
    kinds = {
        Tile.FULL: (kind == Tile.FULL) & whole,
        Tile.PARTIAL: (kind == Tile.PARTIAL) | ((kind == Tile.FULL) & ~whole),
    }
    lines = -(-width // cut.line)
    ends = np.arange(lines + 1)
    return Walk(
        lines,
        {
            t: np.searchsorted(line[on], ends).astype(np.int32)
            for t, on in kinds.items()
        },
        {t: first[on].astype(np.int32) for t, on in kinds.items()},
    )


def _row_spans(mask: Mask, T: int, S: int, block: int):
    """First key and end of the keys that each block of queries sees."""
    intervals = mask.row_interval(T, S)
    if intervals is None:
        return None
    start, end = intervals
    edges = np.arange(0, T, block)
    empty = start >= end
    low = np.minimum.reduceat(np.where(empty, S, start), edges)
    return low, np.maximum.reduceat(np.where(empty, 0, end), edges)


def _column_spans(mask: Mask, T: int, S: int, block: int):
    """First query and end of the queries that see each block of keys."""
    intervals = mask.row_interval(T, S)
    if intervals is None:
        return None
    start, end = intervals
    if (np.diff(start) < 0).any() or (np.diff(end) < 0).any():
        return None
    edges = np.arange(0, S, block)
    low = np.searchsorted(end, edges, side="right")
    return low, np.searchsorted(start, np.minimum(edges + block, S), side="left")


def choose_cut(mask: Mask, T: int, S: int, of_rows: bool) -> Cut:
    """The cut for which visiting the mask's tiles costs least."""
    return cheapest(mask, T, S, of_rows)[1]


@lru_cache(maxsize=256)
def cheapest(mask: Mask, T: int, S: int, of_rows: bool) -> tuple[float, Cut]:
    """What visiting the mask's tiles costs at least, in scores, and by which cut."""
    width, length = (T, S) if of_rows else (S, T)

    def cost(cut: Cut) -> float:
        walk = make_walk(mask, T, S, cut, of_rows)
        if walk is None:
            return np.inf
        scores = cut.line * cut.tile
        whole, partial = (walk.first[kind].size for kind in (Tile.FULL, Tile.PARTIAL))
        alone = ALONE if scores < ALONE_BELOW else 1.0
        each = scores + LOAD * (cut.line + cut.tile)
        return alone * each * (whole + MASKED * partial)

    widest = Cut(min(BLOCKS[0], width), min(BLOCKS[0], length))
    walk = make_walk(mask, T, S, widest, of_rows)
    assert walk is not None, "on a grid there always is one"
    whole = 2 * walk.first[Tile.FULL].size >= walk.tiles
    if whole or walk.tiles > MOST_TILES:
        # Where most tiles are whole, others hide little more; of very many, small ones
        # would take longer to list than to be worth it.
        return cost(widest), widest

    choices = [Cut(a, b) for a in BLOCKS for b in BLOCKS]
    choices += [Cut(a, b, on_grid=False) for a in BLOCKS for b in SPANS]
    best = min((fit(cut, width, length) for cut in choices), key=cost)
    return cost(best), best


def fit(cut: Cut, width: int, length: int) -> Cut:
    """No larger than the map."""
    return cut._replace(line=min(cut.line, width), tile=min(cut.tile, length))
