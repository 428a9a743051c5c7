"""Patterns of absolute positions: first tokens, chunks, summary columns."""

from dataclasses import dataclass

import numpy as np

from attn.errors import UserError
from attn.masks.base import Mask
from attn.masks.fields import whole
from attn.masks.intervals import MOST, covered, one
from attn.masks.pattern import Index, Tile, verdict


def first(start: Index, stop: Index, count: int) -> np.ndarray:
    """The verdict on positions start..stop-1 of which the first `count` are visible."""
    return verdict(np.clip(count - start, 0, stop - start), stop - start)


@dataclass(frozen=True, repr=False)
class Global(Mask):
    """A pattern of global tokens: the first `num_tokens` see and are seen by all.

    Beltagy et al. 2020 (Longformer), section 3.1. With T != S both the first queries
    and the first keys are meant.
    """

    num_tokens: int

    def __post_init__(self):
        whole(self, {"num_tokens": 1})

    def predicate(self, q, k):
        return (q < self.num_tokens) | (k < self.num_tokens)

    def tile(self, q0, q1, k0, k1):
        return np.maximum(
            first(q0, q1, self.num_tokens), first(k0, k1, self.num_tokens)
        )

    def runs(self, q, S):
        return one(
            np.zeros_like(q), np.where(q < self.num_tokens, S, self.num_tokens), S
        )


@dataclass(frozen=True, repr=False)
class Prefix(Mask):
    """Every query sees the first `length` keys (prefix language models, with Causal).

    `Causal() | Prefix(n)` is the prefix mask of Raffel et al. 2020 (T5), section 3.2.1.
    """

    length: int

    def __post_init__(self):
        whole(self, {"length": 1})

    def predicate(self, q, k):
        return k < self.length

    def tile(self, q0, q1, k0, k1):
        verdicts = first(k0, k1, self.length)
        return np.broadcast_to(verdicts, np.broadcast(q0, k0).shape)

    def runs(self, q, S):
        return one(np.zeros_like(q), np.full_like(q, self.length), S)


@dataclass(frozen=True, repr=False)
class Chunk(Mask):
    """A query sees its own chunk of `size` tokens (Long Range Arena's Local).

    Chunks are counted from token 0 for queries and keys alike.
    """

    size: int

    def __post_init__(self):
        whole(self, {"size": 1})

    def predicate(self, q, k):
        return q // self.size == k // self.size

    def tile(self, q0, q1, k0, k1):
        q_first, q_last = q0 // self.size, (q1 - 1) // self.size
        k_first, k_last = k0 // self.size, (k1 - 1) // self.size
        apart = (q_last < k_first) | (k_last < q_first)
        same = (q_first == k_last) & (q_last == k_first)
        return np.where(apart, Tile.EMPTY, np.where(same, Tile.FULL, Tile.PARTIAL))

    def runs(self, q, S):
        start = q // self.size * self.size
        return one(start, start + self.size, S)


@dataclass(frozen=True, repr=False)
class Earlier(Mask):
    """A query sees the key blocks before its own: floor(s / k_block) < floor(t / q_block).

    Blocks hold `q_block` queries and `k_block` keys. If the keys are `k_block`
    summaries of each `q_block` tokens, these are the summaries of earlier tokens.
    """

    q_block: int
    k_block: int

    def __post_init__(self):
        whole(self, {"q_block": 1, "k_block": 1})

    def predicate(self, q, k):
        return k // self.k_block < q // self.q_block

    def tile(self, q0, q1, k0, k1):
        some = k0 // self.k_block < (q1 - 1) // self.q_block
        every = (k1 - 1) // self.k_block < q0 // self.q_block
        return np.where(every, Tile.FULL, np.where(some, Tile.PARTIAL, Tile.EMPTY))

    def runs(self, q, S):
        return one(np.zeros_like(q), q // self.q_block * self.k_block, S)


@dataclass(frozen=True, repr=False)
class Fixed(Mask):
    """A query sees its own block of `stride` tokens, and the last keys of every block.

    The last `columns` keys of a block stand for a summary of it: the fixed
    factorisation of Child et al. 2019, section 4.3 (their l and c), both parts
    together; theirs is `Causal() & Fixed(stride, columns)`.
    """

    stride: int
    columns: int = 1

    def __post_init__(self):
        whole(self, {"stride": 1, "columns": 1})
        if self.columns > self.stride:
            raise UserError(
                f"Fixed(columns={self.columns}): it must be at most stride = {self.stride}"
            )

    def predicate(self, q, k):
        summary = k % self.stride >= self.stride - self.columns
        return summary | (q // self.stride == k // self.stride)

    def tile(self, q0, q1, k0, k1):
        stride, kept = self.stride, self.stride - self.columns
        own = Chunk(stride).tile(q0, q1, k0, k1)
        summary = np.where(k0 % stride >= kept, k0, k0 // stride * stride + kept)
        some = np.where(summary < k1, np.maximum(own, Tile.PARTIAL), own)
        # Full if the keys between the summaries are in the block of every query.
        last = k1 - 1
        low = np.where(k0 % stride < kept, k0, (k0 // stride + 1) * stride)
        high = np.where(last % stride < kept, last, last // stride * stride + kept - 1)
        block = q0 // stride
        inside = (q1 - 1) // stride == block
        inside = inside & (low // stride == block) & (high // stride == block)
        none = (low > high) | (kept == 0)
        return np.where(none | inside, Tile.FULL, some)

    def runs(self, q, S):
        blocks = -(-S // self.stride)
        if blocks >= MOST:
            return None
        own = q[:, None] // self.stride * self.stride
        ends = self.stride * np.arange(1, blocks + 1) + np.zeros_like(own)
        starts = np.hstack([own, ends - self.columns]).clip(0, S)
        return covered(starts, np.hstack([own + self.stride, ends]).clip(0, S))
