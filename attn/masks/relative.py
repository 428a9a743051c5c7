"""Patterns of the relative position k - q: causal, windows, strides."""

from dataclasses import dataclass

import numpy as np

from attn.masks.base import Mask
from attn.masks.fields import whole
from attn.masks.intervals import MOST, Runs, one, packed
from attn.masks.pattern import Index, verdict


def multiples(low: Index, high: Index, step: int) -> Index:
    """Counts the multiples of `step` in low..high; 0 where high < low."""
    return np.maximum(np.floor_divide(high, step) - np.floor_divide(low - 1, step), 0)


class Diagonal(Mask):
    """A pattern of the differences `k - q`: each diagonal of the map is all or nothing."""

    diagonal = True

    def distances(self, low: Index, high: Index) -> Index:
        """Counts the visible differences among low..high."""
        raise NotImplementedError

    def tile(self, q0, q1, k0, k1):
        # A rectangle holds every difference between those of its two corners.
        low, high = k0 - q1 + 1, k1 - 1 - q0
        return verdict(self.distances(low, high), high - low + 1)


@dataclass(frozen=True, repr=False)
class Causal(Diagonal):
    """A query sees the keys up to its own position plus `offset`: s <= t + offset.

    Query 0 is at the position of key 0. With T != S, `Causal(offset=S - T)` aligns the
    last query with the last key.
    """

    offset: int = 0

    def __post_init__(self):
        whole(self, {"offset": None})

    def predicate(self, q, k):
        return k - q <= self.offset

    def distances(self, low, high):
        return np.clip(self.offset - low + 1, 0, high - low + 1)

    def runs(self, q, S):
        return one(np.zeros_like(q), q + self.offset + 1, S)


@dataclass(frozen=True, repr=False)
class Window(Diagonal):
    """A query sees the keys from `left` before it to `right` after it, itself included.

    t - left <= s <= t + right, as FlashAttention's `window_size`; query t is at
    key t.
    """

    left: int
    right: int

    def __post_init__(self):
        whole(self, {"left": 0, "right": 0})

    def predicate(self, q, k):
        return (k - q >= -self.left) & (k - q <= self.right)

    def distances(self, low, high):
        return multiples(np.maximum(low, -self.left), np.minimum(high, self.right), 1)

    def runs(self, q, S):
        return one(q - self.left, q + self.right + 1, S)


@dataclass(frozen=True, repr=False)
class Dilated(Diagonal):
    """A window with gaps: keys `dilation` apart, around the query and itself included.

    `left` keys before it and `right` after it: s = t + j dilation for -left <= j <=
    right (Beltagy et al. 2020, section 3.1); `Dilated(left, right, 1)` shows what
    `Window(left, right)` shows.
    """

    left: int
    right: int
    dilation: int

    def __post_init__(self):
        whole(self, {"left": 0, "right": 0, "dilation": 1})

    def predicate(self, q, k):
        # A remainder for each query and each key is cheaper than one for each pair.
        near = k - q >= -self.left * self.dilation
        near = near & (k - q <= self.right * self.dilation)
        return near & (q % self.dilation == k % self.dilation)

    def distances(self, low, high):
        low = np.maximum(low, -self.left * self.dilation)
        high = np.minimum(high, self.right * self.dilation)
        return multiples(low, high, self.dilation)

    def runs(self, q, S):
        if self.dilation == 1:
            return Window(self.left, self.right).runs(q, S)
        if self.left + self.right + 1 > MOST:
            return None
        return singles(
            q[:, None] + self.dilation * np.arange(-self.left, self.right + 1), S
        )


@dataclass(frozen=True, repr=False)
class Strided(Diagonal):
    """A query sees every key whose distance from it is a multiple of `stride`.

    The far part of the strided factorisation of Child et al. 2019, section 4.3, in both
    directions; theirs is `Causal() & (Window(stride, 0) | Strided(stride))`.
    """

    stride: int

    def __post_init__(self):
        whole(self, {"stride": 1})

    def predicate(self, q, k):
        return q % self.stride == k % self.stride

    def distances(self, low, high):
        return multiples(low, high, self.stride)

    def runs(self, q, S):
        if self.stride == 1:
            return one(np.zeros_like(q), np.full_like(q, S), S)
        steps = -(-S // self.stride)
        if steps > MOST:
            return None
        return singles(q[:, None] % self.stride + self.stride * np.arange(steps), S)


def singles(keys: np.ndarray, S: int) -> Runs:
    """Makes runs of single keys [n, R], in order; those outside 0..S-1 are left out."""
    inside = (keys >= 0) & (keys < S)
    row = np.repeat(np.arange(len(keys)), keys.shape[1])
    start, end = np.where(inside, keys, 0), np.where(inside, keys + 1, 0)
    return packed(row, start.ravel(), end.ravel(), len(keys))
