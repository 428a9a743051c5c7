"""Tile schedules: the tiles that are not empty, found from coarse to fine."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int8, Int32

from attn.errors import UserError
from attn.masks.pattern import Pattern, Tile


@dataclass(frozen=True, eq=False)
class Schedule:
    """The non-empty tiles of a T × S map, in memory proportional to them."""

    num_rows: int
    """The number of query blocks."""
    num_columns: int
    """The number of key blocks."""
    row: Int32[np.ndarray, "tiles"]
    """The query block of each tile; tiles are sorted by row, then column."""
    column: Int32[np.ndarray, "tiles"]
    """The key block of each tile."""
    kind: Int8[np.ndarray, "tiles"]
    """`Tile.PARTIAL` or `Tile.FULL`."""


@lru_cache(maxsize=64)
def mask_schedule(
    mask: Pattern, T: int, S: int, q_block: int, k_block: int, ragged: bool = True
) -> Schedule:
    """Makes the schedule of `mask` on a T × S map in tiles of q_block × k_block.

    Args:
        ragged: tiles of a last block that is not whole count as PARTIAL even where the
            mask shows all of what exists, since a kernel that pads must mask the rest.

    Raises:
        UserError: the mask was made for other lengths, or a size is below 1.
    """
    if min(T, S, q_block, k_block) < 1:
        raise UserError(
            f"mask_schedule({T} x {S} in {q_block} x {k_block}): each must be at least 1"
        )
    mask.check(T, S)
    num_rows, num_columns = -(-T // q_block), -(-S // k_block)
    # One number a tile, for one sort: position in the grid, then kind.
    parts = [
        (row * num_columns + column) * 4 + kind
        for size, rows, columns, kind in refine(mask, T, S, q_block, k_block)
        for row, column in [_spread(rows, columns, size, num_rows, num_columns)]
    ]
    tiles = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    tiles.sort()
    cell, kind = tiles >> 2, (tiles & 3).astype(np.int8)
    row = (cell // num_columns).astype(np.int32)
    column = (cell % num_columns).astype(np.int32)
    if ragged:
        padded = (row == num_rows - 1) & bool(T % q_block)
        padded |= (column == num_columns - 1) & bool(S % k_block)
        kind[padded] = Tile.PARTIAL
    for array in (row, column, kind):
        array.setflags(write=False)
    return Schedule(num_rows, num_columns, row, column, kind)


def refine(
    mask: Pattern, T: int, S: int, q_block: int, k_block: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, Tile]]:
    """Yields squares of `size` × `size` tiles, by row and column of their first tile.

    FULL ones at any size, PARTIAL ones at size 1; the rest of the map is empty. Squares
    that are neither are split in four.
    """
    most = max(-(-T // q_block), -(-S // k_block))
    size = 1 << (most - 1).bit_length()
    row = column = np.zeros(1, np.int64)
    while len(row):
        q0, k0 = row * q_block, column * k_block
        q1 = np.minimum(q0 + size * q_block, T)
        k1 = np.minimum(k0 + size * k_block, S)
        kind = np.asarray(mask.tile(q0, q1, k0, k1))
        if (kind == Tile.FULL).any():
            yield size, row[kind == Tile.FULL], column[kind == Tile.FULL], Tile.FULL
        row, column = row[kind == Tile.PARTIAL], column[kind == Tile.PARTIAL]
        if size == 1:
            yield 1, row, column, Tile.PARTIAL
            return
        size //= 2
        row = (row[:, None] + [0, 0, size, size]).ravel()
        column = (column[:, None] + [0, size, 0, size]).ravel()
        inside = (row * q_block < T) & (column * k_block < S)
        row, column = row[inside], column[inside]


def _spread(row, column, size: int, num_rows: int, num_columns: int):
    """Splits squares into single tiles, those beyond the map left out."""
    if size == 1:
        return row, column
    step = np.arange(size)
    row = np.repeat(row, size * size).reshape(-1, size, size) + step[:, None]
    column = np.repeat(column, size * size).reshape(-1, size, size) + step
    inside = (row < num_rows) & (column < num_columns)
    return row[inside], column[inside]
