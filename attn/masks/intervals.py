"""Sets of keys as sorted intervals, one set a query, for many queries at once.

`Runs` are starts and ends, int64 [n, R]: row i holds the keys of
start[i, r] <= s < end[i, r]. In normal form the intervals of a row are in order and
apart, and empty ones (start == end) come last.
"""

import numpy as np

Runs = tuple[np.ndarray, np.ndarray]

MOST = 16
"""The maximum number of intervals a row of one pattern; more take too long to sort."""


def merge(a: Runs, b: Runs, depth: int) -> Runs:
    """The union (`depth` 1) or intersection (`depth` 2) of two sets of intervals."""
    if depth == 2 and a[0].shape[1] == b[0].shape[1] == 1:
        start = np.maximum(a[0], b[0])
        return start, np.maximum(start, np.minimum(a[1], b[1]))
    starts, ends = np.hstack([a[0], b[0]]), np.hstack([a[1], b[1]])
    return covered(starts, ends, depth)


def covered(starts: np.ndarray, ends: np.ndarray, depth: int = 1) -> Runs:
    """The keys that at least `depth` of the intervals [n, R] of a row cover."""
    # Twice the key, plus one for an end: at the same key starts sort first, so
    # that intervals which touch become one.
    edges = np.sort(np.hstack([2 * starts, 2 * ends + 1]), axis=1)
    closing = edges % 2
    level = np.cumsum(1 - 2 * closing, axis=1)
    opens = (level == depth) & (closing == 0)
    closes = (level == depth - 1) & (closing == 1)
    return packed(np.nonzero(opens)[0], edges[opens] // 2, edges[closes] // 2,
                  len(starts))  # fmt: skip


def packed(row: np.ndarray, start: np.ndarray, end: np.ndarray, n: int) -> Runs:
    """Packs a flat list of intervals, sorted by row, then start, into runs [n, R]."""
    real = end > start
    row, start, end = row[real], start[real], end[real]
    counts = np.bincount(row, minlength=n)
    slot = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    out = np.zeros((2, n, max(1, counts.max(initial=0))), np.int64)
    out[:, row, slot] = start, end
    return out[0], out[1]


def complement(runs: Runs, S: int) -> Runs:
    """The keys 0..S-1 between the intervals."""
    start, end = runs
    empty = end <= start
    n = len(start)
    before = np.hstack([np.zeros((n, 1), np.int64), np.where(empty, S, end)])
    after = np.hstack([np.where(empty, S, start), np.full((n, 1), S)])
    row = np.repeat(np.arange(n), before.shape[1])
    return packed(row, before.ravel(), after.ravel(), n)


def one(start: np.ndarray, end: np.ndarray, S: int) -> Runs:
    """One interval a query, from [n] starts and ends, clipped to the keys 0..S-1."""
    start = np.clip(start, 0, S)
    return start[:, None], np.clip(end, start, S)[:, None]
