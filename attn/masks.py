"""What a query may see: patterns, their algebra, and what follows from them.

A mask is a small frozen object, never a matrix:

    Causal() & (Window(255, 0) | Global(4))

The same object gives the elementwise predicate, the verdict on a tile by interval
arithmetic, the block schedule, the density and the dense oracle. It is hashable, so
it is a static argument under `jax.jit`. What is only known at run time (lengths,
segment ids) is an argument of `attend`, so a new batch retraces nothing.

Queries and keys are counted from 0 and aligned at the first: query t stands at key t.
For queries that end where the keys end, ask for `Causal(offset=S - T)`.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from attn.errors import UserError

Index = Any
"""Integers, or integer arrays of NumPy or JAX that broadcast against each other."""


class Tile(IntEnum):
    """What a rectangle of the map holds; ordered, so that `&` is min and `|` is max."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


class Mask:
    """What a query may see. Subclasses give `predicate` and `tile`."""

    def predicate(self, q: Index, k: Index) -> Any:
        """Whether query `q` sees key `k`, elementwise."""
        raise NotImplementedError

    def tile(self, q0: Index, q1: Index, k0: Index, k1: Index) -> np.ndarray:
        """The verdicts on queries q0..q1-1 and keys k0..k1-1, as `Tile` values.

        EMPTY and FULL are certain; PARTIAL may also stand for either where a
        composition cannot tell without looking at each element.
        """
        raise NotImplementedError

    def __and__(self, other: "Mask") -> "Mask":
        if self in (FULL, other):
            return other
        return self if other == FULL else And(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return self if self == other else Or(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)

    def dense(self, T: int, S: int | None = None) -> np.ndarray:
        """The whole map, bool [T, S]: the oracle of every other view."""
        S = T if S is None else S
        seen = self.predicate(np.arange(T)[:, None], np.arange(S)[None, :])
        return np.broadcast_to(seen, (T, S))

    def density(self, T: int, S: int | None = None) -> float:
        """The share of the T × S map that is seen."""
        S = T if S is None else S
        return _count(self, T, S) / (T * S)


def _count(mask: Mask, T: int, S: int, block: int = 512) -> int:
    """Visible pairs, looking inside partial tiles only."""
    schedule = mask_schedule(mask, T, S, block, block)
    total = 0
    for kind in (Tile.PARTIAL, Tile.FULL):
        for i, j in zip(*np.nonzero(schedule.kinds == kind)):
            q = np.arange(i * block, min(T, (i + 1) * block))
            k = np.arange(j * block, min(S, (j + 1) * block))
            if kind is Tile.FULL:
                total += q.size * k.size
            else:
                seen = mask.predicate(q[:, None], k[None, :])
                total += int(np.broadcast_to(seen, (q.size, k.size)).sum())
    return total


def _band(
    low: Index, high: Index, least: Index | None, most: Index | None
) -> np.ndarray:
    """The verdict on differences low..high where least..most are visible."""
    inside, apart = np.asarray(True), np.asarray(False)
    if least is not None:
        inside, apart = inside & (low >= least), apart | (high < least)
    if most is not None:
        inside, apart = inside & (high <= most), apart | (low > most)
    return np.where(apart, Tile.EMPTY, np.where(inside, Tile.FULL, Tile.PARTIAL))


@dataclass(frozen=True)
class Full(Mask):
    """Every query sees every key."""

    def predicate(self, q, k):
        return np.True_

    def tile(self, q0, q1, k0, k1):
        return np.full(np.broadcast(q0, k0).shape, Tile.FULL)


FULL = Full()


@dataclass(frozen=True)
class Causal(Mask):
    """A query sees the keys up to its own place plus `offset`."""

    offset: int = 0

    def predicate(self, q, k):
        return k - q <= self.offset

    def tile(self, q0, q1, k0, k1):
        return _band(k0 - q1 + 1, k1 - 1 - q0, None, self.offset)


@dataclass(frozen=True)
class Window(Mask):
    """A query sees the keys from `left` before it to `right` after it, itself included."""

    left: int
    right: int

    def __post_init__(self):
        if self.left < 0 or self.right < 0:
            raise UserError(
                f"Window(left={self.left}, right={self.right}): both must be at least 0"
            )

    def predicate(self, q, k):
        return (k - q >= -self.left) & (k - q <= self.right)

    def tile(self, q0, q1, k0, k1):
        return _band(k0 - q1 + 1, k1 - 1 - q0, -self.left, self.right)


@dataclass(frozen=True)
class Global(Mask):
    """The first `num_tokens` see all keys, and all queries see them (Longformer, 3.1)."""

    num_tokens: int

    def __post_init__(self):
        if self.num_tokens < 1:
            raise UserError(f"Global(num_tokens={self.num_tokens}): at least 1")

    def predicate(self, q, k):
        return (q < self.num_tokens) | (k < self.num_tokens)

    def tile(self, q0, q1, k0, k1):
        rows = _band(q0, q1 - 1, None, self.num_tokens - 1)
        return np.maximum(rows, _band(k0, k1 - 1, None, self.num_tokens - 1))


@dataclass(frozen=True)
class Prefix(Mask):
    """Every query sees the first `length` keys (prefix language models, with Causal)."""

    length: int

    def __post_init__(self):
        if self.length < 1:
            raise UserError(f"Prefix(length={self.length}): at least 1")

    def predicate(self, q, k):
        return k < self.length

    def tile(self, q0, q1, k0, k1):
        return _band(k0, k1 - 1, None, self.length - 1)


@dataclass(frozen=True)
class Chunk(Mask):
    """A query sees its own chunk of `size` tokens (Long Range Arena's Local)."""

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise UserError(f"Chunk(size={self.size}): at least 1")

    def predicate(self, q, k):
        return q // self.size == k // self.size

    def tile(self, q0, q1, k0, k1):
        q_first, q_last = q0 // self.size, (q1 - 1) // self.size
        k_first, k_last = k0 // self.size, (k1 - 1) // self.size
        apart = (q_last < k_first) | (k_last < q_first)
        same = (q_first == k_last) & (q_last == k_first)
        return np.where(apart, Tile.EMPTY, np.where(same, Tile.FULL, Tile.PARTIAL))


@dataclass(frozen=True)
class And(Mask):
    """What both sides show."""

    a: Mask
    b: Mask

    def predicate(self, q, k):
        return self.a.predicate(q, k) & self.b.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return np.minimum(self.a.tile(q0, q1, k0, k1), self.b.tile(q0, q1, k0, k1))


@dataclass(frozen=True)
class Or(Mask):
    """What either side shows."""

    a: Mask
    b: Mask

    def predicate(self, q, k):
        return self.a.predicate(q, k) | self.b.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return np.maximum(self.a.tile(q0, q1, k0, k1), self.b.tile(q0, q1, k0, k1))


@dataclass(frozen=True)
class Not(Mask):
    """What the other hides."""

    a: Mask

    def predicate(self, q, k):
        # Not `~`, which of Python's own True makes -2.
        return True ^ self.a.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return Tile.FULL - self.a.tile(q0, q1, k0, k1)


@dataclass(frozen=True)
class Schedule:
    """The tiles of a T × S map that a blockwise kernel must visit."""

    kinds: np.ndarray
    """`Tile` values [query blocks, key blocks]."""

    def rows(self, kind: Tile) -> tuple[np.ndarray, np.ndarray]:
        """Key blocks of each query block: pointers [query blocks + 1], indices."""
        hits = self.kinds == kind
        pointers = np.concatenate([[0], np.cumsum(hits.sum(axis=1))])
        return pointers.astype(np.int32), np.nonzero(hits)[1].astype(np.int32)

    def columns(self, kind: Tile) -> tuple[np.ndarray, np.ndarray]:
        """Query blocks of each key block, likewise."""
        return Schedule(self.kinds.T).rows(kind)


@lru_cache(maxsize=256)
def mask_schedule(mask: Mask, T: int, S: int, q_block: int, k_block: int) -> Schedule:
    """The schedule of `mask` on a T × S map; a last block that is cut short counts
    as the part of it that exists."""
    q0 = np.arange(0, T, q_block)[:, None]
    k0 = np.arange(0, S, k_block)[None, :]
    kinds = mask.tile(q0, np.minimum(q0 + q_block, T), k0, np.minimum(k0 + k_block, S))
    return Schedule(np.broadcast_to(kinds, (q0.size, k0.size)).astype(np.int8))
