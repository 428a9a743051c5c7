"""The tile schedule of a mask: which tiles are visited, line by line, and their size.

A line is a row of tiles in the forward pass and a column in the backward pass. Tiles
along a line are on a grid or, where a mask shows each query one interval of keys, side
by side from the start of the line's interval.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from attn.masks import Mask, Tile, mask_schedule

BLOCKS = (512, 256, 128, 64)
"""Block sizes that are tried for tiles on a grid."""
EVEN = 8
"""What sizes of even blocks are a multiple of."""
SPANS = (1024, 768, 512, 384, 256)
"""Block sizes that are tried along a line, off the grid."""
# Costs in units of a score of a large unmasked tile, fitted to times on two CPU cores.
LOAD = 32
"""The cost of reading one token of a tile, in scores."""
MASKED = 1.4
"""The cost of a masked tile over that of one without a mask."""
MOST_TILES = 2**16
"""The number of tiles at the largest block sizes beyond which no others are tried."""
ALONE, ALONE_BELOW = 1.6, 2**17
"""The cost of tiles that XLA runs on one core over that of others, and the scores of a
head's tile below which it does."""


class BlockSizes(NamedTuple):
    """The block sizes of one pass."""

    line: int
    """Tokens across a line."""
    tile: int
    """Tokens of a tile along its line."""
    on_grid: bool = True


class TileSchedule(NamedTuple):
    """The tiles to visit in each line (a row or column of tiles), as sorted lists."""

    lines: int
    pointers: dict[Tile, Int32[np.ndarray, "lines_and_end"]]
    """The index in `first` where each line's FULL, and PARTIAL, tiles begin."""
    first: dict[Tile, Int32[np.ndarray, "tiles"]]
    """The first token of each tile along its line."""

    @property
    def tiles(self) -> int:
        """The number of tiles that are visited."""
        return sum(first.size for first in self.first.values())


@lru_cache(maxsize=256)
def tile_schedule(
    mask: Mask, T: int, S: int, sizes: BlockSizes, of_rows: bool
) -> TileSchedule | None:
    """Makes the tile schedule; None off the grid where lines have no intervals."""
    if sizes.on_grid:
        lengths = (sizes.line, sizes.tile) if of_rows else (sizes.tile, sizes.line)
        visited = mask_schedule(mask, T, S, *lengths)
        line, other = visited.row, visited.column
        if not of_rows:
            order = np.argsort(other, kind="stable")
            line, other = other[order], line[order]
        return _sorted(mask, T, S, sizes, of_rows, line, other * sizes.tile)
    spans = _row_spans(mask, T, S, sizes.line) if of_rows else _column_spans(mask, T, S, sizes.line)  # fmt: skip
    if spans is None:
        return None
    low, high = spans
    count = -(-np.maximum(high - low, 0) // sizes.tile)
    line = np.repeat(np.arange(low.size), count)
    nth = np.arange(line.size) - np.repeat(np.cumsum(count) - count, count)
    return _sorted(mask, T, S, sizes, of_rows, line, low[line] + nth * sizes.tile)


def _sorted(mask, T, S, sizes, of_rows, line, first) -> TileSchedule:
    """Makes the schedule of tiles that are sorted by line, with a verdict on each."""
    width, length = (T, S) if of_rows else (S, T)
    across = line * sizes.line, np.minimum((line + 1) * sizes.line, width)
    along = first, np.minimum(first + sizes.tile, length)
    kind = np.asarray(mask.tile(*across, *along) if of_rows else mask.tile(*along, *across))  # fmt: skip
    kind = np.broadcast_to(kind, line.shape)
    # A shorter block is filled up with other tokens, which must be masked.
    whole = ((line + 1) * sizes.line <= width) & (first + sizes.tile <= length)
    kinds = {
        Tile.FULL: (kind == Tile.FULL) & whole,
        Tile.PARTIAL: (kind == Tile.PARTIAL) | ((kind == Tile.FULL) & ~whole),
    }
    lines = -(-width // sizes.line)
    ends = np.arange(lines + 1)
    return TileSchedule(
        lines,
        {
            t: np.searchsorted(line[on], ends).astype(np.int32)
            for t, on in kinds.items()
        },
        {t: first[on].astype(np.int32) for t, on in kinds.items()},
    )


def _row_spans(mask: Mask, T: int, S: int, block: int):
    """The first key, and the end of the keys, that each block of queries sees."""
    intervals = mask.row_interval(T, S)
    if intervals is None:
        return None
    start, end = intervals
    edges = np.arange(0, T, block)
    empty = start >= end
    low = np.minimum.reduceat(np.where(empty, S, start), edges)
    return low, np.maximum.reduceat(np.where(empty, 0, end), edges)


def _column_spans(mask: Mask, T: int, S: int, block: int):
    """The first query, and the end of the queries, that see each block of keys."""
    intervals = mask.row_interval(T, S)
    if intervals is None:
        return None
    start, end = intervals
    if (np.diff(start) < 0).any() or (np.diff(end) < 0).any():
        return None
    edges = np.arange(0, S, block)
    low = np.searchsorted(end, edges, side="right")
    return low, np.searchsorted(start, np.minimum(edges + block, S), side="left")


def choose_block_sizes(mask: Mask, T: int, S: int, of_rows: bool) -> BlockSizes:
    """Chooses the block sizes at which a mask's tiles are cheapest to visit."""
    return cheapest(mask, T, S, of_rows)[1]


@lru_cache(maxsize=256)
def cheapest(mask: Mask, T: int, S: int, of_rows: bool) -> tuple[float, BlockSizes]:
    """The least cost of visiting a mask's tiles, in scores, and its block sizes."""
    width, length = (T, S) if of_rows else (S, T)

    def cost(sizes: BlockSizes) -> float:
        schedule = tile_schedule(mask, T, S, sizes, of_rows)
        if schedule is None:
            return np.inf
        scores = sizes.line * sizes.tile
        whole, partial = (
            schedule.first[kind].size for kind in (Tile.FULL, Tile.PARTIAL)
        )
        alone = ALONE if scores < ALONE_BELOW else 1.0
        each = scores + LOAD * (sizes.line + sizes.tile)
        return alone * each * (whole + MASKED * partial)

    widest = BlockSizes(BLOCKS[0], BLOCKS[0])
    widest = min(_fitted(widest, width, length), key=cost)
    schedule = tile_schedule(mask, T, S, widest, of_rows)
    assert schedule is not None, "on a grid there always is one"
    whole = 2 * schedule.first[Tile.FULL].size >= schedule.tiles
    if whole or schedule.tiles > MOST_TILES:
        # Where most tiles are whole, smaller ones hide little more; and where there are
        # very many, smaller ones take too long to list.
        return cost(widest), widest

    choices = [BlockSizes(a, b) for a in BLOCKS for b in BLOCKS]
    choices += [BlockSizes(a, b, on_grid=False) for a in BLOCKS for b in SPANS]
    fitted = (own for sizes in choices for own in _fitted(sizes, width, length))
    best = min(fitted, key=cost)
    return cost(best), best


def _fitted(sizes: BlockSizes, width: int, length: int) -> Iterator[BlockSizes]:
    """Yields block sizes as they are, within the map, and as they divide it evenly.

    A map of 784 tokens has two blocks of 512, or two of 392.
    """
    yield fit(sizes, width, length)
    tile = _share(sizes.tile, length) if sizes.on_grid else sizes.tile
    yield fit(BlockSizes(_share(sizes.line, width), tile, sizes.on_grid), width, length)


def _share(block: int, length: int) -> int:
    """The least size of blocks, a multiple of `EVEN`, that are as many as of `block`."""
    each = -(-length // -(-length // block))
    return min(block, -(-each // EVEN) * EVEN)


def fit(sizes: BlockSizes, width: int, length: int) -> BlockSizes:
    """Limits block sizes to the size of the map."""
    return sizes._replace(line=min(sizes.line, width), tile=min(sizes.tile, length))
