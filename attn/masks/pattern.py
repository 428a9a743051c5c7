"""The base of patterns: a predicate, verdicts on tiles, and intervals of rows."""

from enum import IntEnum
from typing import Any

import numpy as np

from attn.masks.intervals import Runs

Index = Any
"""Integers, or integer arrays of NumPy or JAX that broadcast against each other."""


class Tile(IntEnum):
    """The verdict on a tile; ordered, so that `&` is min and `|` is max."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


def verdict(shown: Index, pairs: Index) -> np.ndarray:
    """The verdict on tiles of which `shown` out of `pairs` pairs are visible."""
    some = np.where(np.asarray(shown) > 0, Tile.PARTIAL, Tile.EMPTY)
    return np.where(np.asarray(shown) >= pairs, Tile.FULL, some)


class Pattern:
    """A pattern, the part of a mask that schedules and counts need."""

    diagonal = False
    """Whether the predicate depends on `k - q` alone."""

    def predicate(self, q: Index, k: Index) -> Any:
        """Whether query `q` sees key `k`, elementwise.

        For integers, NumPy arrays and JAX arrays (also traced), which broadcast.
        """
        raise NotImplementedError

    def tile(self, q0: Index, q1: Index, k0: Index, k1: Index) -> np.ndarray:
        """The verdicts on queries q0..q1-1 and keys k0..k1-1, as `Tile` values.

        Exact for a single pattern. For a composition EMPTY and FULL are certain, and
        PARTIAL includes what cannot be decided from its parts.
        """
        raise NotImplementedError

    def runs(self, q: np.ndarray, S: int) -> Runs | None:
        """The intervals of keys 0..S-1 that each query of `q` [n] sees.

        Starts and ends [n, R], in order and apart; None where a row of one pattern
        may hold more than `attn.masks.intervals.MOST`.
        """
        return None

    def check(self, T: int, S: int) -> None:
        """Raises `UserError` if the pattern was made for lengths other than T × S."""
