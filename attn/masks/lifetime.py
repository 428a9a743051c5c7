"""Lifetimes of keys in decoding, and the cache slots that follow from them.

A key needs a slot of the cache from its own position until the last query that sees it.
Those intervals alone say how large a cache is and what may overwrite what: a window
gives a ring, streaming attention its first keys and a ring, chunks one chunk, and a
causal mask a slot for each key.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int, Int32

from attn.masks.base import Mask
from attn.masks.pattern import Tile
from attn.masks.per_head import PerHead


@lru_cache(maxsize=64)
def last_query(mask: Mask, L: int) -> Int[np.ndarray, "L"]:
    """The last query, at or after each key, that sees it on L × L; -1 where none does.

    Of a mask for each head, the last query of any head. O(L) where the predicate
    depends on k - q alone. Else each key bisects for it by verdicts on tiles, O(L log
    L) as long as these are exact for a column of tiles, which all single patterns' are,
    and those under `Causal()`; compositions with undecided tiles look into them, up to
    O(L^2).
    """
    mask.check(L, L)
    if isinstance(mask, PerHead):
        return np.max([last_query(one, L) for one in mask.masks], axis=0)
    last = _by_diagonals(mask, L) if mask.diagonal else _by_tiles(mask, L)
    last.setflags(write=False)
    return last


def _by_diagonals(mask: Mask, L: int) -> Int[np.ndarray, "L"]:
    distance = np.arange(L)
    seen = np.broadcast_to(mask.predicate(0, -distance), L)
    # The furthest query that key s can have is L - 1 - s after it.
    furthest = np.maximum.accumulate(np.where(seen, distance, -1))[::-1]
    return np.where(furthest < 0, -1, distance + furthest)


def _by_tiles(mask: Mask, L: int) -> Int[np.ndarray, "L"]:
    """Steps back from the last query: over empty tiles, and into halves of others."""
    last = np.full(L, -1)
    key = np.arange(L)
    stop, size = np.full(L, L), np.full(L, L)
    while len(key):
        start = np.maximum(stop - size, key)
        kind = np.asarray(mask.tile(start, stop, key, key + 1))
        full, empty = kind == Tile.FULL, kind == Tile.EMPTY
        last[key[full]] = stop[full] - 1
        size = np.where(empty, 2 * size, (stop - start + 1) // 2)
        stop = np.where(empty, start, stop)
        left = ~full & (stop > key)
        key, stop, size = key[left], stop[left], size[left]
    return last


@lru_cache(maxsize=1024)
def num_slots(mask: Mask, L: int) -> int:
    """The number of slots that decoding L tokens needs: the most keys alive at once."""
    return int(_alive(_ends(mask, L)).max())


@lru_cache(maxsize=64)
def slots(mask: Mask, L: int) -> Int32[np.ndarray, "L"]:
    """The slot of the key at each position, of `num_slots(mask, L)`; O(L log L).

    No two keys share a slot while a later query sees the first. A key takes the slot
    that has been free for the longest, or a new one where none is free: greedy
    colouring of intervals by their start, which is minimal.
    """
    ends, position = _ends(mask, L), np.arange(L)
    made = np.maximum.accumulate(_alive(ends))
    before = np.concatenate([[0], made[:-1]])
    # The n-th key that finds a slot free takes that of the n-th key to end.
    heir_of = np.argsort(ends, kind="stable")[position - before]
    owner = np.where(made > before, position, heir_of)
    while (owner != owner[owner]).any():
        owner = owner[owner]
    table = (made[owner] - 1).astype(np.int32)
    table.setflags(write=False)
    return table


def _ends(mask: Mask, L: int) -> Int[np.ndarray, "L"]:
    """The last position at which each key is kept, at least its own."""
    return np.maximum(last_query(mask, L), np.arange(L))


def _alive(ends: Int[np.ndarray, "L"]) -> Int[np.ndarray, "L"]:
    """The number of keys that are kept at each position, that of its own included."""
    ended = np.cumsum(np.bincount(ends, minlength=len(ends)))
    return np.arange(1, len(ends) + 1) - np.concatenate([[0], ended[:-1]])
