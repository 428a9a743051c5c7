"""Masks that differ between query heads."""

from dataclasses import dataclass

import numpy as np

from attn.errors import UserError
from attn.masks.base import Mask


@dataclass(frozen=True, repr=False)
class PerHead(Mask):
    """One mask for each query head: head n sees what `masks[n]` shows.

    `& | ~` go to each head, with one mask for all or with another `PerHead` of as many
    heads. It has no predicate of its own: callers run each of `.masks`.
    """

    masks: tuple[Mask, ...]

    elementwise = True

    def __post_init__(self):
        if not self.masks or any(isinstance(mask, PerHead) for mask in self.masks):
            raise UserError(f"PerHead(masks={self.masks}): at least one plain mask")
        object.__setattr__(self, "masks", tuple(self.masks))

    def check_heads(self, num_heads: int) -> None:
        """Raises `UserError` unless there is one mask for each of `num_heads`."""
        if len(self.masks) != num_heads:
            raise UserError(
                f"PerHead has {len(self.masks)} masks, used with {num_heads} query heads"
            )

    def check(self, T, S):
        for mask in self.masks:
            mask.check(T, S)

    def _others(self, other: Mask) -> tuple[Mask, ...]:
        if not isinstance(other, PerHead):
            return (other,) * len(self.masks)
        if len(other.masks) != len(self.masks):
            raise UserError(
                f"PerHead of {len(self.masks)} heads and PerHead of {len(other.masks)}: "
                "as many heads on both sides"
            )
        return other.masks

    def __and__(self, other):
        return PerHead(tuple(a & b for a, b in zip(self.masks, self._others(other))))

    def __rand__(self, other):
        return PerHead(tuple(b & a for a, b in zip(self.masks, self._others(other))))

    def __or__(self, other):
        return PerHead(tuple(a | b for a, b in zip(self.masks, self._others(other))))

    def __ror__(self, other):
        return PerHead(tuple(b | a for a, b in zip(self.masks, self._others(other))))

    def __invert__(self):
        return PerHead(tuple(~mask for mask in self.masks))

    def predicate(self, q, k):
        raise self._apart("predicate")

    def tile(self, q0, q1, k0, k1):
        raise self._apart("tile")

    def runs(self, q, S):
        raise self._apart("runs")

    def _apart(self, asked: str) -> UserError:
        return UserError(f"PerHead has no {asked}; take one of its .masks, a head each")

    def dense(self, T, S=None):
        """The map of each head, bool [N, T, S]."""
        return np.stack([mask.dense(T, S) for mask in self.masks])

    def count(self, T, S=None):
        """Counts the visible pairs of all heads together."""
        return sum(mask.count(T, S) for mask in self.masks)

    def density(self, T, S=None):
        """The mean density over the heads."""
        return sum(mask.density(T, S) for mask in self.masks) / len(self.masks)
