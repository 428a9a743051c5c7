"""Exact analysis of a mask on T × S: visible pairs, intervals of keys, the band."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from attn.masks.intervals import Runs
from attn.masks.pattern import Pattern, Tile
from attn.masks.schedule import refine

ROWS = 1 << 15
"""Queries at a time, so that the intervals stay in cache."""
LEAF = 64
"""The side of the smallest tiles that `count` divides into."""


def _chunks(mask: Pattern, T: int, S: int) -> Iterator[Runs] | None:
    """The runs of queries 0..T-1, in chunks of rows; None where the mask has none."""
    if mask.runs(np.arange(1), S) is None:
        return None
    return (mask.runs(np.arange(i, min(i + ROWS, T)), S) for i in range(0, T, ROWS))  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=1024)
def count(mask: Pattern, T: int, S: int) -> int:
    """Counts the visible pairs on T × S exactly.

    By diagonals, O(T + S), where the predicate depends on k - q alone; by intervals,
    O(T), where each row has few; else by tiles, looking into the partial ones.
    """
    mask.check(T, S)
    if mask.diagonal:
        return _by_diagonals(mask, T, S)
    chunks = _chunks(mask, T, S)
    if chunks is not None:
        return sum(int((end - start).sum()) for start, end in chunks)
    return _by_tiles(mask, T, S)


def _by_diagonals(mask: Pattern, T: int, S: int) -> int:
    away = np.arange(1 - T, S)
    seen = np.broadcast_to(mask.predicate(0, away), away.shape)
    pairs = np.minimum(T, S - away) - np.maximum(0, -away)
    return int(pairs[seen].sum())


def _by_tiles(mask: Pattern, T: int, S: int) -> int:
    total = 0
    for size, row, column, kind in refine(mask, T, S, LEAF, LEAF):
        q, k = row * LEAF, column * LEAF
        if kind is Tile.FULL:
            side = size * LEAF
            total += int((np.minimum(side, T - q) * np.minimum(side, S - k)).sum())
            continue
        for n in range(0, len(q), 256):
            total += _inside(mask, q[n : n + 256], k[n : n + 256], T, S)
    return total


def _inside(mask: Pattern, q: np.ndarray, k: np.ndarray, T: int, S: int) -> int:
    """Counts the visible pairs of leaf tiles by the predicate."""
    step = np.arange(LEAF)
    q, k = (q[:, None] + step)[:, :, None], (k[:, None] + step)[:, None, :]
    # A tile may reach beyond the map; the predicate is asked for pairs that exist.
    seen = mask.predicate(np.minimum(q, T - 1), np.minimum(k, S - 1))
    return int((seen & (q < T) & (k < S)).sum())


def row_interval(mask: Pattern, T: int, S: int):
    """Computes `Mask.row_interval`."""
    mask.check(T, S)
    chunks = _chunks(mask, T, S)
    if chunks is None:
        return None
    starts, ends = [], []
    for start, end in chunks:
        if start.shape[1] > 1:
            return None
        starts.append(start[:, 0].astype(np.int32))
        ends.append(end[:, 0].astype(np.int32))
    return np.concatenate(starts), np.concatenate(ends)


@lru_cache(maxsize=1024)
def band(mask: Pattern, T: int, S: int) -> tuple[int | None, int | None] | None:
    """Computes `Mask.band`: the widest bounds of the same map, open before closed."""
    interval = row_interval(mask, T, S)
    if interval is None:
        return None
    start, end = (x.astype(np.int64) for x in interval)
    t, some = np.arange(T), end > start
    # The tightest band around what is seen, or one beyond every key if nothing is.
    left = int((t - start)[some].max()) if some.any() else -S
    right = int((end - 1 - t)[some].max()) if some.any() else -T
    for bounds in ((None, None), (None, right), (left, None), (left, right)):
        if _is_band(*bounds, start, end, T, S):
            return bounds
    return None


def _is_band(left, right, start, end, T: int, S: int) -> bool:
    t = np.arange(T)
    low = np.zeros(T, np.int64) if left is None else (t - left).clip(0, S)
    high = np.full(T, S) if right is None else (t + right + 1).clip(0, S)
    same = (low == start) & (high == end)
    return bool((same | ((low >= high) & (start >= end))).all())
