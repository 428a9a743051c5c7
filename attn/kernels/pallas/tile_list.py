"""The list of tiles that the kernel visits, and what it is told of each.

A line is a row of tiles (one block of queries) or a column (one block of keys). The
kernel's last grid axis goes over this list, so an empty tile costs nothing, however
unlike the lines are.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from attn.masks import Mask, Tile, mask_schedule
from attn.masks.schedule import Schedule

LANES = 128
"""The width of a TPU's vector registers, of which a block is a multiple."""
BLOCKS = (512, 256, 128)
"""Block sizes that are tried."""
STEP = 2**16
"""The cost of a grid step beside its scores, in scores of a head of 128 channels.

Pallas's guide puts a step at 0.35 microseconds; a v5e, of 197 TFLOP/s, makes
65,536 scores in that time at half its peak."""
MOST_TILES = 2**16
"""Tiles in a list: 8 bytes each, of the megabyte of scalar memory."""
MOST_PAIRS = 2**28
"""Pairs in PARTIAL tiles that are computed before the kernel, where it cannot."""
KIND, FIRST, LAST, SHIFT = 3, 4, 8, 4
"""The parts of a note: the bits of its `Tile`, whether its line begins and ends here,
and by how many bits the index of its table is shifted."""
PLACE = 16
"""The number of bits that the other block has in a place, below the line's."""


class TileList(NamedTuple):
    """The tiles in the order of the visit; every line has at least one."""

    places: Int32[np.ndarray, "tiles"]
    """The line of each tile, and its block along the line: `line << PLACE | other`."""
    notes: Int32[np.ndarray, "tiles"]
    """The kind of each tile, `FIRST`, `LAST`, and the index of its table."""
    tables: Int32[np.ndarray, "tables words q_block"] | None
    """The visible pairs of PARTIAL tiles, a bit each along the keys; None where the
    kernel computes them. Equal tiles share one."""


@lru_cache(maxsize=64)
def tile_list(
    mask: Mask, T: int, S: int, blocks: tuple[int, int], of_rows: bool, tabled: bool
) -> TileList:
    """Lists the tiles of a mask, in `blocks` of queries and of keys."""
    visited = mask_schedule(mask, T, S, *blocks)
    line, other, lines = visited.row, visited.column, visited.num_rows
    if not of_rows:
        line, other, lines = other, line, visited.num_columns
    tables, own = _tables(mask, T, S, blocks, visited) if tabled else (None, 0)
    notes = visited.kind.astype(np.int32) | np.left_shift(own, SHIFT, dtype=np.int32)
    # A line without a tile still writes its zeros.
    blank = np.setdiff1d(np.arange(lines), line)
    line = np.concatenate([line, blank])
    other, notes = (
        np.concatenate([x, np.zeros(blank.size, np.int32)]) for x in (other, notes)
    )
    order = np.lexsort((other, line))
    line, other, notes = line[order], other[order], notes[order]
    changes = np.flatnonzero(np.diff(line))
    notes[np.concatenate([[0], changes + 1])] |= FIRST
    notes[np.concatenate([changes, [line.size - 1]])] |= LAST
    return TileList((line << PLACE | other).astype(np.int32), notes, tables)


def _tables(mask: Mask, T: int, S: int, blocks: tuple[int, int], visited: Schedule):
    """The distinct tables of the PARTIAL tiles, and the index of each tile's."""
    index, found = np.zeros(visited.kind.size, np.int32), {}
    for n in np.flatnonzero(visited.kind == Tile.PARTIAL):
        row, column = int(visited.row[n]), int(visited.column[n])
        table = _table(mask, T, S, blocks, row, column)
        index[n] = found.setdefault(table.tobytes(), len(found))
    shape = len(found), blocks[1] // 32, blocks[0]
    return np.frombuffer(b"".join(found), np.int32).reshape(shape), index


def _table(mask: Mask, T: int, S: int, blocks: tuple[int, int], row: int, column: int):
    """One tile's pairs, keys first: bit n of word w is key 32 w + n, [words, q_block]."""
    q = row * blocks[0] + np.arange(blocks[0])[None, :]
    k = column * blocks[1] + np.arange(blocks[1])[:, None]
    seen = mask.predicate(np.minimum(q, T - 1), np.minimum(k, S - 1))
    seen = seen & (q < T) & (k < S)
    words = seen.reshape(-1, 32, blocks[0]).astype(np.uint32)
    words = words << np.arange(32, dtype=np.uint32)[:, None]
    return np.bitwise_or.reduce(words, axis=1).view(np.int32)


@lru_cache(maxsize=256)
def choose_blocks(mask: Mask, T: int, S: int) -> tuple[int, int]:
    """Chooses the blocks of queries and of keys at which the visit is cheapest.

    By the count of scores and of steps; no device has measured it.
    """

    def cost(blocks: tuple[int, int]) -> int:
        return num_tiles(mask, T, S, blocks) * (blocks[0] * blocks[1] + STEP)

    return min(((a, b) for a in BLOCKS for b in BLOCKS), key=cost)


def num_tiles(mask: Mask, T: int, S: int, blocks: tuple[int, int]) -> int:
    """The number of tiles that are visited."""
    return mask_schedule(mask, T, S, *blocks).kind.size


def why_too_large(
    mask: Mask, T: int, S: int, blocks: tuple[int, int], tabled: bool
) -> str | None:
    """Returns the reason why a mask's list is beyond the limits; None if it is not."""
    visited = mask_schedule(mask, T, S, *blocks)
    if visited.kind.size > MOST_TILES:
        return (
            f"mask {mask} visits {visited.kind.size:,} tiles of {T} x {S}; it takes "
            f"up to {MOST_TILES:,}"
        )
    pairs = int((visited.kind == Tile.PARTIAL).sum()) * blocks[0] * blocks[1]
    if tabled and pairs > MOST_PAIRS:
        return (
            f"mask {mask} has {pairs:,} pairs in partly visible tiles, which cannot be "
            f"computed inside the kernel; it takes up to {MOST_PAIRS:,}"
        )
    return None
