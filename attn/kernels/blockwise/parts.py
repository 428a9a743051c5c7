"""A map cut into parts, each few whole tiles once its tokens are put in another order.

A pattern whose keys lie far apart leaves no tile of the map empty. Its tokens taken in
turns, or the keys that stand out of each block taken together, lie side by side. Parts
share no pair, so their softmaxes merge by their log-sum-exps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, and_, mul
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attn.kernels.blockwise.call import blockwise_attention
from attn.kernels.dense import NO_KEY
from attn.masks import Mask


@dataclass(frozen=True)
class Part:
    """Some pairs of a map."""

    mask: Mask
    """Of the tokens as the part has them."""
    size: int = 1
    """Tokens of a block of the text."""
    order: Literal["text", "blocks", "turns"] = "text"
    """Whether tokens stay as they are, or see their own block alone, or alone those that
    are at the same place of every block."""
    keep: tuple[int, int] | None = None
    """First and end of the keys of each block that it is about; all unless given."""
    rows: int | None = None
    """First queries that it is about; all unless given."""

    def lengths(self, T: int, S: int) -> tuple[int, int]:
        """Queries and keys of a group."""
        T = T if self.rows is None else self.rows
        kept = self.keep[1] - self.keep[0] if self.keep else self.size
        blocks = -(-S // self.size)
        if self.order == "blocks":
            return self.size, kept
        if self.order == "turns":
            return -(-T // self.size), blocks
        return T, kept * blocks if self.keep else S

    def groups(self, T: int) -> int:
        """Of tokens that see each other."""
        return {"text": 1, "blocks": -(-T // self.size), "turns": self.size}[self.order]

    def queries(self, x: Array) -> Array:
        """[B, T, ...] to [B groups, queries of a group, ...]."""
        if self.order == "text":
            return x if self.rows is None else x[:, : self.rows]
        return self._grouped(self._blocks(x, 0))

    def keys(self, x: Array, fill: int = 0) -> Array:
        """[B, S, ...] likewise; `fill` in place of what the last block lacks."""
        if self.order == "text" and self.keep is None:
            return x
        x = self._blocks(x, fill)
        x = x if self.keep is None else x[:, :, slice(*self.keep)]
        B, M, C, *rest = x.shape
        return x.reshape(B, M * C, *rest) if self.order == "text" else self._grouped(x)

    def back(self, x: Array, T: int, fill: int | float) -> Array:
        """Of queries, to [B, T, ...]; `fill` where it is not about them."""
        if self.order == "text":
            return x if self.rows is None else _longer(x, T, fill)
        x = x.reshape(-1, self.groups(T), *x.shape[1:])
        x = jnp.swapaxes(x, 1, 2) if self.order == "turns" else x
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :T]

    def _blocks(self, x: Array, fill: int) -> Array:
        """[B, L, ...] to [B, blocks, size, ...]."""
        x = _longer(x, -(-x.shape[1] // self.size) * self.size, fill)
        return x.reshape(x.shape[0], -1, self.size, *x.shape[2:])

    def _grouped(self, x: Array) -> Array:
        x = jnp.swapaxes(x, 1, 2) if self.order == "turns" else x
        return x.reshape(-1, *x.shape[2:])


def _longer(x: Array, L: int, fill: int | float) -> Array:
    """`x` [B, ...] with L tokens."""
    more = ((0, 0), (0, L - x.shape[1]), *((0, 0) for _ in x.shape[2:]))
    return jnp.pad(x, more, constant_values=fill) if x.shape[1] < L else x


def attend_in_parts(
    q: Float[Array, "B T K G H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    parts: Sequence[Part],
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Float[Array, "K G"] | None = None,
    q_ids: Int[Array, "B T"] | None = None,
    kv_ids: Int[Array, "B S"] | None = None,
    whole: bool = False,
) -> tuple[Float[Array, "B T K G Hv"], Float[Array, "B T K G"]]:
    """`blockwise_attention` over parts that share no pair, of which the first holds all
    queries, and takes the sinks."""
    (B, T), S = q.shape[:2], k.shape[1]

    def attend(part: Part) -> tuple[Array, Array]:
        ids = kv_ids
        if ids is None and S % part.size:
            ids = jnp.zeros((B, S), jnp.int32)
        out, lse = blockwise_attention(
            part.queries(q),
            part.keys(k),
            part.keys(v),
            mask=part.mask,
            scale=scale,
            softcap=softcap,
            sinks=sinks if part is parts[0] else None,
            q_ids=None if q_ids is None else part.queries(q_ids),
            kv_ids=None if ids is None else part.keys(ids, NO_KEY),
            whole=whole,
        )
        return part.back(out, T, 0.0), part.back(lse, T, -jnp.inf)

    return merge([attend(part) for part in parts])


def merge(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Outputs and log-sum-exps over keys that are not shared, as over all of them.

    Outputs come rounded to the dtype of the values, once a part.
    """
    lse = found[0][1]
    for _, more in found[1:]:
        lse = jnp.logaddexp(lse, more)
    base = jnp.where(lse == -jnp.inf, 0.0, lse)
    # An output of inf or NaN would reach by its weight what its query does not see.
    good = [jnp.isfinite(x) for x, _ in found]
    shares = [jnp.exp(own - base)[..., None] for _, own in found]
    kept = [jnp.where(fine, x, 0) for fine, (x, _) in zip(good, found, strict=True)]
    out = reduce(add, map(mul, kept, shares))
    return jnp.where(reduce(and_, good), out, jnp.nan).astype(kept[0].dtype), lse
