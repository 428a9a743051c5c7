"""The base of masks, and the three operators that combine them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32

from attn.masks import analysis
from attn.masks.fields import typed
from attn.masks.intervals import Runs, complement, merge
from attn.masks.pattern import Pattern, Tile
from attn.masks.picture import picture


class Mask(Pattern):
    """A mask: a pattern with operators, and all that is derived from it.

    A subclass gives `predicate` and `tile`, and `runs` if it can.
    """

    elementwise = False
    """Whether operators apply to each of several masks (`PerHead`)."""

    def __and__(self, other: "Mask") -> "Mask":
        if other.elementwise and not self.elementwise:
            return NotImplemented
        if self in (FULL, other):
            return other
        return self if other == FULL else And(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        if other.elementwise and not self.elementwise:
            return NotImplemented
        if FULL in (self, other):
            return FULL
        return self if self == other else Or(self, other)

    def __invert__(self) -> "Mask":
        return Not(self)

    def __repr__(self) -> str:
        """The mask as an expression: fields in order, defaults left out."""
        return typed(self)

    def dense(self, T: int, S: int | None = None) -> Bool[np.ndarray, "..."]:
        """Computes the map, bool [T, S], from `predicate` alone: the reference."""
        S = T if S is None else S
        self.check(T, S)
        seen = self.predicate(np.arange(T)[:, None], np.arange(S)[None, :])
        return np.broadcast_to(seen, (T, S))

    def count(self, T: int, S: int | None = None) -> int:
        """Counts the visible pairs of a query and a key on T × S; exact, and cached."""
        return analysis.count(self, T, T if S is None else S)

    def density(self, T: int, S: int | None = None) -> float:
        """The visible share of the T × S map."""
        S = T if S is None else S
        return self.count(T, S) / (T * S)

    def row_interval(
        self, T: int, S: int | None = None
    ) -> tuple[Int32[np.ndarray, "..."], Int32[np.ndarray, "..."]] | None:
        """The start and end [T] of the one interval of keys that each query sees.

        Empty rows have start == end. None where some query sees two intervals, or where
        `runs` is None. Whatever the mask is made of: only the map on T × S counts.
        """
        return analysis.row_interval(self, T, T if S is None else S)

    def band(
        self, T: int, S: int | None = None
    ) -> tuple[int | None, int | None] | None:
        """The (left, right) of a mask t - left <= s <= t + right on T × S, else None.

        A side that hides nothing is None; a number may be negative.
        """
        return analysis.band(self, T, T if S is None else S)

    def picture(self, T: int, S: int | None = None, *, width: int = 32) -> str:
        """Draws the map in characters, one a tile, at most `width` tiles a side.

        `·` is hidden, `▒` partly seen, `█` seen; queries go down, keys across.
        """
        return picture(self, T, T if S is None else S, width)


@dataclass(frozen=True, repr=False)
class Full(Mask):
    """The mask under which every query sees every key."""

    diagonal = True

    def predicate(self, q, k):
        return np.True_

    def tile(self, q0, q1, k0, k1):
        return np.full(np.broadcast(q0, k0).shape, Tile.FULL)

    def runs(self, q, S):
        return np.zeros((len(q), 1), np.int64), np.full((len(q), 1), S)


FULL = Full()


@dataclass(frozen=True, repr=False)
class Pair(Mask):
    """The base of two masks under one operator."""

    a: Mask
    b: Mask

    @property
    def diagonal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.a.diagonal and self.b.diagonal

    def check(self, T, S):
        self.a.check(T, S)
        self.b.check(T, S)

    def _runs(self, q, S, depth: int) -> Runs | None:
        a, b = self.a.runs(q, S), self.b.runs(q, S)
        return None if a is None or b is None else merge(a, b, depth)


@dataclass(frozen=True, repr=False)
class And(Pair):
    """The intersection: a pair is visible if both masks show it."""

    def predicate(self, q, k):
        return self.a.predicate(q, k) & self.b.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return np.minimum(self.a.tile(q0, q1, k0, k1), self.b.tile(q0, q1, k0, k1))

    def runs(self, q, S):
        return self._runs(q, S, depth=2)

    def __repr__(self):
        left = f"({self.a!r})" if isinstance(self.a, Or) else repr(self.a)
        right = f"({self.b!r})" if isinstance(self.b, Pair) else repr(self.b)
        return f"{left} & {right}"


@dataclass(frozen=True, repr=False)
class Or(Pair):
    """The union: a pair is visible if either mask shows it."""

    def predicate(self, q, k):
        return self.a.predicate(q, k) | self.b.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return np.maximum(self.a.tile(q0, q1, k0, k1), self.b.tile(q0, q1, k0, k1))

    def runs(self, q, S):
        return self._runs(q, S, depth=1)

    def __repr__(self):
        right = f"({self.b!r})" if isinstance(self.b, Or) else repr(self.b)
        return f"{self.a!r} | {right}"


@dataclass(frozen=True, repr=False)
class Not(Mask):
    """The complement: a pair is visible if the other mask hides it."""

    a: Mask

    @property
    def diagonal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.a.diagonal

    def predicate(self, q, k):
        # Not `~`, which turns Python's True into -2.
        return True ^ self.a.predicate(q, k)

    def tile(self, q0, q1, k0, k1):
        return Tile.FULL - self.a.tile(q0, q1, k0, k1)

    def runs(self, q, S):
        inner = self.a.runs(q, S)
        return None if inner is None else complement(inner, S)

    def check(self, T, S):
        self.a.check(T, S)

    def __invert__(self):
        return self.a

    def __repr__(self):
        return f"~({self.a!r})" if isinstance(self.a, Pair) else f"~{self.a!r}"
