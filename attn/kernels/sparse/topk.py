"""Top-k attention: the keys with the largest scores."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, matmul_flops
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import visible
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.sparse.largest import ABSENT, num_bits, positions_of_largest
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Causal, Mask, Window

CHUNK = 64
"""Queries whose scores are held at a time, C; on short sequences more, up to `SCORES`."""
SCORES = 1 << 16


@dataclass(frozen=True)
class TopK(Kernel):
    """Softmax over the k largest scores of each query: Gupta et al. 2021, section 2.

    The paper is Memory-efficient Transformers via Top-k Attention.

    Exactly k keys where at least k are seen, the earlier of two that tie, and all of
    them where fewer are. Every score is computed, hidden ones too, and counted for each
    bit of a score: O(T S H) time, which is quadratic. What the paper saves is memory:
    O(C S + C k (H + Hv)) for a chunk of C queries. The backward pass keeps the
    chosen indices, k a query, and recomputes the scores of those alone.

    The choice has no gradient: what was not chosen gets none. Log-sum-exps of disjoint
    keys do not merge to the k largest of their union, so it gives none.
    """

    name = "topk"
    family = "sparse"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "cross", "key_padding", "packing"}
        | {"positions", "scale", "map", "normalised", "decoding"}
    )
    keeps = "keys"
    strategies = ("all_to_all", "all_gather")
    least: ClassVar = {"num_keys": 1}
    within = ("num_keys",)

    num_keys: int = 32
    """Keys that a query attends to, k."""

    def num_pairs(self, mask, T, S):
        if mask == Causal():  # a query takes as many as a window of k would show it
            return (mask & Window(self.num_keys - 1, 0)).count(T, S)
        return T * min(self.num_keys, S) if mask == FULL else None

    def flops(self, T, S, H, Hv, mask):
        K = min(self.num_keys, S)
        # Each bit is a comparison and an addition of every score.
        chosen = matmul_flops(T, S, num_bits(S))
        return matmul_flops(T, S, H) + chosen + matmul_flops(T, K, H + Hv)

    def kept(self, mask, L):
        """All keys, in order: of two that tie the earlier one is taken."""
        return Causal()

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        scoring: Scoring = PLAIN,
        q_info: TokenInfo = NO_INFO,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`; a query that sees nothing gives 0."""
        T, S = len(q), len(k)
        factor, kv_ids = scoring.factor(q.shape[1]), kv_info.ids(S)
        q_index, k_index = q_info.index(T), kv_info.index(S)

        def attend(chunk):
            q, index, ids = chunk
            seen = visible(mask, index, k_index, ids, kv_ids)
            fixed = lax.stop_gradient((q, k))
            scores = jnp.where(seen, scores_of("ch,sh->cs", *fixed, factor), -jnp.inf)
            chosen = positions_of_largest(scores, self.num_keys)
            return jax.checkpoint(partial(attend_chosen, scale=factor))(q, k, v, chosen)

        split = partial(in_chunks, C=chunk_size(T, S))
        out = lax.map(attend, jax.tree.map(split, (q, q_index, q_info.segment_ids)))
        return out.reshape(-1, v.shape[1])[:T]


def chunk_size(T: int, S: int) -> int:
    """The number of queries whose scores over S keys are held at a time, C."""
    return min(T, max(CHUNK, SCORES // S))


def attend_chosen(
    q: Float[Array, "C H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    index: Int[Array, "C K"],
    *,
    scale: float,
) -> Float[Array, "C Hv"]:
    """Computes softmax attention of each query over its own choice of keys."""
    absent = index == ABSENT
    # Absent keys are 0: 0 times inf or NaN would be NaN, in gradients too.
    k, v = (jnp.where(absent[:, :, None], 0, x[index]) for x in (k, v))
    # A query without keys has equal weights over values that are all 0.
    hidden = absent & ~absent[:, :1]
    scores = jnp.where(hidden, -jnp.inf, scores_of("ch,ckh->ck", q, k, scale))
    w = jax.nn.softmax(scores, axis=1).astype(v.dtype)
    out = jnp.einsum("ck,ckv->cv", w, v, preferred_element_type=scores.dtype)
    return out.astype(v.dtype)


def scores_of(products: str, q: Array, k: Array, scale: float) -> Array:
    """Multiplies queries and keys, in at least float32, and scales."""
    acc = jnp.promote_types(q.dtype, jnp.float32)
    return jnp.einsum(products, q, k, preferred_element_type=acc) * scale
