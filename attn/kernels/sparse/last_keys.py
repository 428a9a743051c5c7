"""Softmax attention to the last keys of each query, in O(T width) time and memory."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attn.kernels.base import sums_dtype
from attn.kernels.chunks import in_chunks
from attn.masks import Window


def last_keys(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    real: Bool[Array, "S"],
    width: int,
) -> Float[Array, "T Hv"]:
    """Attends to the last `width` keys: each chunk of queries to two chunks of keys."""
    T, H = q.shape
    C = min(width, T)
    n = -(-T // C)

    def padded(x):
        """Pads T keys to whole chunks, with a chunk of zeros before."""
        x = x[:T]
        return jnp.pad(x, ((C, n * C - len(x)),) + ((0, 0),) * (x.ndim - 1))

    k, v, real = map(padded, (k, v, real))
    product = partial(jnp.einsum, preferred_element_type=sums_dtype(q))

    @jax.checkpoint
    def rows(chunk):
        q, first = chunk
        keys, values, there = (
            lax.dynamic_slice_in_dim(x, first, 2 * C) for x in (k, v, real)
        )
        q_index, k_index = first + jnp.arange(C), first + jnp.arange(-C, C)
        seen = Window(width - 1, 0).predicate(q_index[:, None], k_index[None, :])
        scores = product("ch,dh->cd", q, keys) * H**-0.5
        weights = masked_softmax(scores, seen & there[None, :]).astype(v.dtype)
        return product("cd,dv->cv", weights, values)

    out = lax.map(rows, (in_chunks(q, C), C * jnp.arange(n)))
    return out.reshape(n * C, -1)[:T]


def masked_softmax(scores: Array, seen: Array) -> Array:
    """Softmax over the last axis; 0, with no gradient, where nothing is visible."""
    blind = ~seen.any(axis=-1, keepdims=True)
    scores = jnp.where(seen, scores, -jnp.inf)
    weights = jax.nn.softmax(jnp.where(blind, 0.0, scores), axis=-1)
    return jnp.where(blind, 0.0, weights)
