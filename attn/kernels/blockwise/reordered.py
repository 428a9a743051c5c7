"""Attention over reordered tokens, an order in which few tiles are visited.

A pattern whose keys are far apart leaves no tile of the map empty. In another order
(every n-th token together, or the summary keys of all blocks) they are side by side. A
mask is divided into disjoint reorderings, whose softmaxes are merged by their
log-sum-exps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add, and_, mul
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.kernels.blockwise.call import blockwise_attention
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, NO_KEY, TokenInfo
from attn.masks import Mask


@dataclass(frozen=True)
class Reordering:
    """A subset of a mask's pairs, and an order of the tokens for it."""

    mask: Mask
    """The mask between the tokens in this order."""
    size: int = 1
    """Tokens of a block of the sequence."""
    order: Literal["sequence", "blocks", "strides"] = "sequence"
    """The order of tokens: as they are, in groups of a block each, or in groups of the
    tokens at the same offset in every block."""
    keep: tuple[int, int] | None = None
    """The slice of keys of each block that is included; all unless given."""
    rows: int | None = None
    """The number of first queries that are included; all unless given."""

    def lengths(self, T: int, S: int) -> tuple[int, int]:
        """The numbers of queries and keys in a group."""
        T = T if self.rows is None else self.rows
        kept = self.keep[1] - self.keep[0] if self.keep else self.size
        blocks = -(-S // self.size)
        if self.order == "blocks":
            return self.size, kept
        if self.order == "strides":
            return -(-T // self.size), blocks
        return T, kept * blocks if self.keep else S

    def groups(self, T: int) -> int:
        """The number of groups of tokens that see each other."""
        return {"sequence": 1, "blocks": -(-T // self.size), "strides": self.size}[
            self.order
        ]

    def queries(self, x: Array) -> Array:
        """Reorders queries: [B, T, ...] to [B groups, queries of a group, ...]."""
        if self.order == "sequence":
            return x if self.rows is None else x[:, : self.rows]
        return self._grouped(self._blocks(x, 0))

    def keys(self, x: Array, fill: int = 0) -> Array:
        """Reorders keys [B, S, ...] in the same way; `fill` pads the last block."""
        if self.order == "sequence" and self.keep is None:
            return x
        x = self._blocks(x, fill)
        x = x if self.keep is None else x[:, :, slice(*self.keep)]
        B, M, C, *rest = x.shape
        return (
            x.reshape(B, M * C, *rest) if self.order == "sequence" else self._grouped(x)
        )

    def back(self, x: Array, T: int, fill: int | float) -> Array:
        """Undoes `queries`, to [B, T, ...]; `fill` for queries that are not in it."""
        if self.order == "sequence":
            return x if self.rows is None else _longer(x, T, fill)
        x = x.reshape(-1, self.groups(T), *x.shape[1:])
        x = jnp.swapaxes(x, 1, 2) if self.order == "strides" else x
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :T]

    def _blocks(self, x: Array, fill: int) -> Array:
        """Splits [B, L, ...] into [B, blocks, size, ...]."""
        x = _longer(x, -(-x.shape[1] // self.size) * self.size, fill)
        return x.reshape(x.shape[0], -1, self.size, *x.shape[2:])

    def _grouped(self, x: Array) -> Array:
        x = jnp.swapaxes(x, 1, 2) if self.order == "strides" else x
        return x.reshape(-1, *x.shape[2:])


def _longer(x: Array, L: int, fill: int | float) -> Array:
    """Pads `x` [B, ...] to L tokens."""
    more = ((0, 0), (0, L - x.shape[1]), *((0, 0) for _ in x.shape[2:]))
    return jnp.pad(x, more, constant_values=fill) if x.shape[1] < L else x


def reordered_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    reorderings: Sequence[Reordering],
    scoring: Scoring = PLAIN,
    q_info: TokenInfo = NO_INFO,
    kv_info: TokenInfo = NO_INFO,
    whole: bool = False,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Runs `blockwise_attention` over disjoint reorderings, and merges the outputs.

    The first of them has all queries, and the sinks. A bias and positions are indexed
    by the tokens in their own order, and so are not supported here.
    """
    (B, T), S = q.shape[:2], k.shape[1]
    q_ids, kv_ids = q_info.segment_ids, kv_info.ids(S)

    def attend(part: Reordering) -> tuple[Array, Array]:
        ids = kv_ids
        if ids is None and S % part.size:
            ids = jnp.zeros((B, S), jnp.int32)
        out, lse = blockwise_attention(
            part.queries(q),
            part.keys(k),
            part.keys(v),
            mask=part.mask,
            scoring=scoring if part is reorderings[0] else replace(scoring, sinks=None),
            q_info=TokenInfo(None if q_ids is None else part.queries(q_ids)),
            kv_info=TokenInfo(None if ids is None else part.keys(ids, NO_KEY)),
            whole=whole,
        )
        return part.back(out, T, 0.0), part.back(lse, T, -jnp.inf)

    return merge([attend(part) for part in reorderings])


def merge(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Merges outputs and log-sum-exps over disjoint sets of keys.

    Outputs come rounded to the dtype of the values, once a part.
    """
    lse = found[0][1]
    for _, more in found[1:]:
        lse = jnp.logaddexp(lse, more)
    base = jnp.where(lse == -jnp.inf, 0.0, lse)
    # Through its weight, inf or NaN would reach gradients of keys that are not seen.
    good = [jnp.isfinite(x) for x, _ in found]
    shares = [jnp.exp(own - base)[..., None] for _, own in found]
    kept = [jnp.where(fine, x, 0) for fine, (x, _) in zip(good, found, strict=True)]
    out = reduce(add, map(mul, kept, shares))
    return jnp.where(reduce(and_, good), out, jnp.nan).astype(kept[0].dtype), lse
