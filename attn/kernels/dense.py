"""Softmax attention by its definition: every score is held in memory."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.masks import Mask


def dense_attention(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    *,
    mask: Mask,
    scale: float | None = None,
    bias: Float[Array, "T S"] | None = None,
    q_ids: Int[Array, "T"] | None = None,
    kv_ids: Int[Array, "S"] | None = None,
) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
    """softmax(q k^T scale + bias) v over the keys that a query sees.

    Vaswani et al. 2017, section 3.2.1, equation 1. Scores, softmax and their sums
    are float32 whatever the inputs are. O(T S) time and memory.

    Args:
        q, k, v: queries, keys and values.
        mask: what may be seen.
        scale: of the scores; H ** -0.5 unless given.
        bias: added to the scaled scores.
        q_ids, kv_ids: a query sees the keys that carry its own number.

    Returns:
        The output, in the dtype of `v`, and the float32 log-sum-exp of the scores. A
        query that sees nothing gives 0 and -inf.
    """
    T, S = q.shape[0], k.shape[0]
    k, v = clean(k, kv_ids), clean(v, kv_ids)
    seen = visible(mask, jnp.arange(T), jnp.arange(S), q_ids, kv_ids)
    scores = jnp.einsum("th,sh->ts", q, k, preferred_element_type=jnp.float32)
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias.astype(jnp.float32)
    scores = jnp.where(seen, scores, -jnp.inf)
    # A row that sees nothing has the maximum -inf, and -inf - -inf would be NaN.
    top = lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    top = jnp.where(top == -jnp.inf, 0.0, top)
    weights = jnp.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    empty = total == 0
    weights = (weights / jnp.where(empty, 1.0, total)).astype(v.dtype)
    out = jnp.einsum("ts,sv->tv", weights, v, preferred_element_type=jnp.float32)
    lse = jnp.where(empty, -jnp.inf, top + jnp.log(jnp.where(empty, 1.0, total)))
    return out.astype(v.dtype), lse[:, 0]


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
