"""The lines of tiles that programs visit: rows (blocks of queries) or columns (of keys)."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8, Int32

from attn.masks import Mask, Tile, mask_schedule
from attn.masks.schedule import Schedule

LINE, START, MIDDLE, STOP = range(4)
"""The numbers of a line: its block, where its tiles start, where the PARTIAL ones start,
and where they stop."""
MOST_TILES = 2**22
"""Tiles in a list: 8 bytes each."""
MOST_PAIRS = 2**27
"""Pairs in tables, a byte each."""


class Lines(NamedTuple):
    """The lines, the longest first, as programs start in order; and their tiles."""

    lines: Int32[np.ndarray, "lines 4"]
    others: Int32[np.ndarray, "tiles"]
    """The block of each tile along its line."""
    own: Int32[np.ndarray, "tiles"] | None
    """The table of each tile; None where the kernel computes the pairs."""
    tables: Int8[np.ndarray, "tables line_block other_block"] | None
    """The visible pairs of tiles as 0 and 1. Equal tiles share one."""


@lru_cache(maxsize=64)
def make_lines(
    mask: Mask,
    T: int,
    S: int,
    blocks: tuple[int, int],
    of_rows: bool,
    tabled: bool,
    all_masked: bool,
) -> Lines:
    """Makes the lines of a mask.

    Args:
        blocks: the sizes of a tile along the line's own axis and along the other.
        of_rows: whether a line is a block of queries.
        tabled: whether pairs are looked up in tables.
        all_masked: whether every tile is to be masked, as where there are segments.
    """
    sizes = blocks if of_rows else (blocks[1], blocks[0])
    visited = mask_schedule(mask, T, S, *sizes)
    line, other, count = visited.row, visited.column, visited.num_rows
    if not of_rows:
        line, other, count = other, line, visited.num_columns
    partial = (visited.kind == Tile.PARTIAL) | all_masked
    own = tables = None
    if tabled:
        own, tables = _tables(mask, (T, S), sizes, visited, partial, of_rows)
    order = np.lexsort((other, partial, line))
    stop = np.cumsum(np.bincount(line, minlength=count))
    start = np.concatenate([[0], stop[:-1]])
    middle = stop - np.bincount(line[partial], minlength=count)
    lines = np.stack([np.arange(count), start, middle, stop], axis=1)
    lines = lines[np.argsort(start - stop, kind="stable")]
    return Lines(
        lines.astype(np.int32),
        _filled(other[order]),
        None if own is None else _filled(own[order]),
        tables,
    )


def _filled(numbers: np.ndarray) -> np.ndarray:
    """Makes an array of at least one number, since a kernel takes no empty one."""
    return numbers.astype(np.int32) if numbers.size else np.zeros(1, np.int32)


def _tables(
    mask: Mask,
    lengths: tuple[int, int],
    sizes: tuple[int, int],
    visited: Schedule,
    partial: np.ndarray,
    of_rows: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The index of each tile's table, and the distinct tables of all masked tiles."""
    index, found = np.zeros(visited.kind.size, np.int32), {}
    for n in np.flatnonzero(partial):
        seen = np.ones(sizes, np.int8)
        if visited.kind[n] == Tile.PARTIAL:
            where = int(visited.row[n]), int(visited.column[n])
            seen = _pairs(mask, lengths, sizes, *where).astype(np.int8)
        table = (seen if of_rows else seen.T).tobytes()
        index[n] = found.setdefault(table, len(found))
    shape = sizes if of_rows else sizes[::-1]
    found = found or {bytes(shape[0] * shape[1]): 0}
    return index, np.frombuffer(b"".join(found), np.int8).reshape(-1, *shape)


def _pairs(mask: Mask, lengths: tuple[int, int], sizes: tuple[int, int], *where: int):
    """The visible pairs of one tile, [q_block, k_block]."""
    q, k = (place * size + np.arange(size) for place, size in zip(where, sizes))
    q, k = q[:, None], k[None, :]
    T, S = lengths
    return mask.predicate(np.minimum(q, T - 1), np.minimum(k, S - 1)) & (k < S)


def why_too_large(
    mask: Mask, T: int, S: int, blocks: tuple[int, int], tabled: bool
) -> str | None:
    """Returns the reason why a mask's lists are beyond the limits; None if they are not."""
    least = mask.count(T, S) // (blocks[0] * blocks[1])
    if least > MOST_TILES:
        # Without the schedule, which is as large.
        return _too_many(mask, T, S, f"over {least:,}")
    visited = mask_schedule(mask, T, S, *blocks)
    if visited.kind.size > MOST_TILES:
        return _too_many(mask, T, S, f"{visited.kind.size:,}")
    pairs = int((visited.kind == Tile.PARTIAL).sum()) * blocks[0] * blocks[1]
    if tabled and pairs > MOST_PAIRS:
        return (
            f"mask {mask} has {pairs:,} pairs in partly visible tiles, which cannot be "
            f"computed inside the kernel; it takes up to {MOST_PAIRS:,}"
        )
    return None


def _too_many(mask: Mask, T: int, S: int, tiles: str) -> str:
    return (
        f"mask {mask} visits {tiles} tiles of {T} x {S}; it takes up to {MOST_TILES:,}"
    )
