"""Softmax attention by its definition: every score is held in memory."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.masks import FULL, Mask
from attn.positions import RelativeBias


def dense_attention(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    *,
    mask: Mask,
    scale: float | None = None,
    softcap: float | None = None,
    bias: Float[Array, "T S"] | RelativeBias | None = None,
    sink: Float[Array, ""] | None = None,
    q_ids: Int[Array, "T"] | None = None,
    kv_ids: Int[Array, "S"] | None = None,
    q_positions: Int[Array, "T"] | None = None,
    kv_positions: Int[Array, "S"] | None = None,
) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
    """softmax(q k^T scale + bias) v over the keys that a query sees.

    Vaswani et al. 2017, section 3.2.1, equation 1. Scores, softmax and their sums
    are at least float32 whatever the inputs are. O(T S) time and memory.

    Args:
        q, k, v: queries, keys and values.
        mask: what may be seen.
        scale: of the scores; H ** -0.5 unless given.
        softcap: c, in c tanh(scores / c), after the bias (Gemma 2, section 2).
        bias: added to the scaled scores.
        sink: a score that takes its share of the weights and gives no value (gpt-oss).
        q_ids, kv_ids: a query sees the keys that carry its own number.
        q_positions, kv_positions: where tokens stand, for the mask and the bias; their
            index unless given.

    Returns:
        The output, in the dtype of `v`, and the log-sum-exp of the scores. A query that
        sees nothing gives 0 and, without a sink, -inf. A value of inf or NaN reaches the
        queries that see it, and no others.
    """
    acc = jnp.promote_types(q.dtype, jnp.float32)
    q_place = jnp.arange(q.shape[0]) if q_positions is None else q_positions
    k_place = jnp.arange(k.shape[0]) if kv_positions is None else kv_positions
    k, v = clean(k, kv_ids), clean(v, kv_ids)
    scores = jnp.einsum("th,sh->ts", q, k, preferred_element_type=acc)
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda x: x.astype(acc), bias)
        bias = bias.at(k_place[None, :] - q_place[:, None])  # pyright: ignore
    if bias is not None:
        scores = scores + bias.astype(acc)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    if mask != FULL or kv_ids is not None:
        seen = visible(mask, q_place, k_place, q_ids, kv_ids)
        scores = jnp.where(seen, scores, -jnp.inf)
        # 0 times inf is NaN, so such values count apart, in a column of their own.
        bad = ~jnp.isfinite(v)
        count = bad.any(axis=1, keepdims=True).astype(v.dtype)
        v = jnp.concatenate([jnp.where(bad, 0, v), count], axis=1)
    weights, lse, blind = _softmax(scores, sink)
    out = jnp.einsum("ts,sv->tv", weights.astype(v.dtype), v, preferred_element_type=acc)  # fmt: skip
    if mask != FULL or kv_ids is not None:
        out = jnp.where(out[:, -1:] > 0, jnp.nan, out[:, :-1])
    return jnp.where(blind[:, None], 0, out).astype(v.dtype), lse


def _softmax(
    scores: Float[Array, "T S"], sink: Float[Array, ""] | None
) -> tuple[Float[Array, "T S"], Float[Array, "T"], Bool[Array, "T"]]:
    """Weights, log-sum-exp and which rows are all -inf: their weights mean nothing."""
    S = scores.shape[1]
    if sink is not None:
        column = jnp.broadcast_to(sink.astype(scores.dtype), (scores.shape[0], 1))
        scores = jnp.concatenate([scores, column], axis=1)
    blind = lax.stop_gradient(scores).max(axis=1) == -jnp.inf
    scores = jnp.where(blind[:, None], 0.0, scores)
    lse = jnp.where(blind, -jnp.inf, jax.nn.logsumexp(scores, axis=1))
    return jax.nn.softmax(scores, axis=1)[:, :S], lse, blind


def visible(
    mask: Mask,
    q_index: Int[Array, "T"],
    k_index: Int[Array, "S"],
    q_ids: Int[Array, "T"] | None,
    kv_ids: Int[Array, "S"] | None,
) -> Bool[Array, "T S"]:
    """Which keys each query sees, by the mask and by the numbers given at run time."""
    seen = mask.predicate(q_index[:, None], k_index[None, :])
    if kv_ids is not None:
        own = kv_ids[None, :] == (0 if q_ids is None else q_ids[:, None])
        seen = seen & own
    return jnp.broadcast_to(seen, (q_index.size, k_index.size))


def clean(
    x: Float[Array, "S U"], kv_ids: Int[Array, "S"] | None
) -> Float[Array, "S U"]:
    """Keys or values, 0 at padding: 0 times an inf or a NaN there would be NaN."""
    return x if kv_ids is None else jnp.where(kv_ids[:, None] < 0, 0, x)
