"""Softmax attention by its definition, with all scores in memory."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.kernels.maximum import row_max
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask
from attn.positions import RelativeBias


def dense_attention(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    *,
    mask: Mask,
    scoring: Scoring = PLAIN,
    q_info: TokenInfo = NO_INFO,
    kv_info: TokenInfo = NO_INFO,
) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
    """Computes softmax(q k^T scale + bias) v over the keys that a query sees.

    Vaswani et al. 2017, section 3.2.1, equation 1. Scores, softmax and their sums
    are at least float32 whatever the inputs are. O(T S) time and memory.

    Args:
        q, k, v: queries, keys and values.
        mask: what may be seen.
        scoring: how scores are made.
        q_info, kv_info: segments and positions of both, and which keys are padding.

    Returns:
        The output, in the dtype of `v`, and the log-sum-exp of the scores. A query that
        sees nothing gives 0 and, without a sink, -inf. A value of inf or NaN reaches the
        queries that see it, and no others.
    """
    acc = jnp.promote_types(q.dtype, jnp.float32)
    (T, H), S, sink = q.shape, len(k), scoring.sinks
    q_index, k_index = q_info.index(T), kv_info.index(S)
    kv_ids = kv_info.ids(S)
    k, v = clean(k, kv_ids), clean(v, kv_ids)
    scores = jnp.einsum("th,sh->ts", q, k, preferred_element_type=acc)
    scores = scores * scoring.factor(H)
    bias = scoring.bias
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda x: x.astype(acc), bias)
        bias = bias.at(k_index[None, :] - q_index[:, None])  # pyright: ignore
    if bias is not None:
        scores = scores + bias.astype(acc)
    if scoring.softcap is not None:
        scores = scoring.softcap * jnp.tanh(scores / scoring.softcap)
    highest = scores
    if mask != FULL or kv_ids is not None:
        seen = visible(mask, q_index, k_index, q_info.segment_ids, kv_ids)
        # 0 times inf is NaN: such values are set to 0, and queries that see one give NaN.
        flag = jnp.where(jnp.isfinite(v).all(axis=1), 0.0, jnp.nan).astype(acc)
        highest = jnp.where(seen, scores + flag[None, :], -jnp.inf)
        scores = jnp.where(seen, scores, -jnp.inf)
        v = jnp.where(jnp.isfinite(v), v, 0)
    top = row_max(lax.stop_gradient(highest))
    if sink is not None:
        top = jnp.maximum(top, lax.stop_gradient(sink.astype(acc)))
    hit, top = jnp.isnan(top), jnp.where(jnp.isfinite(top), top, 0.0)
    weights = jnp.exp(scores - top[:, None])
    total = weights.sum(axis=1)
    if sink is not None:
        total = total + jnp.exp(sink.astype(acc) - top)
    # Divided after the product, on T rows and not on T x S weights.
    out = jnp.einsum("ts,sv->tv", weights.astype(v.dtype), v, preferred_element_type=acc)  # fmt: skip
    blind = total == 0
    total = jnp.where(blind, 1.0, total)
    lse = jnp.where(blind, -jnp.inf, top + jnp.log(total))
    return jnp.where(hit[:, None], jnp.nan, out / total[:, None]).astype(v.dtype), lse


def visible(
    mask: Mask,
    q_index: Int[Array, "T"],
    k_index: Int[Array, "S"],
    q_ids: Int[Array, "T"] | None,
    kv_ids: Int[Array, "S"] | None,
) -> Bool[Array, "T S"]:
    """The pairs that are visible, by the mask and by segment ids."""
    seen = mask.predicate(q_index[:, None], k_index[None, :])
    if kv_ids is not None:
        own = kv_ids[None, :] == (0 if q_ids is None else q_ids[:, None])
        seen = seen & own
    return jnp.broadcast_to(seen, (q_index.size, k_index.size))


def clean(
    x: Float[Array, "S U"], kv_ids: Int[Array, "S"] | None
) -> Float[Array, "S U"]:
    """Zeroes keys or values at padding, where 0 times inf or NaN would be NaN."""
    return x if kv_ids is None else jnp.where(kv_ids[:, None] < 0, 0, x)
