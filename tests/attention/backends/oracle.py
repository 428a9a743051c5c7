"""Attention by its definition, for the fused kernels: float32, every score in memory."""

import jax
import jax.numpy as jnp
import numpy as np

from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo


def visible(mask, B, T, S, q_ids, kv_ids, q_lengths, kv_lengths):
    """Which keys each query sees, bool [B, T, S]."""
    seen = np.broadcast_to(mask.dense(T, S), (B, T, S))
    if kv_ids is not None:
        q_ids = np.zeros((B, T), int) if q_ids is None else np.asarray(q_ids)
        seen = seen & (q_ids[:, :, None] == np.asarray(kv_ids)[:, None, :])
    for lengths, axis, size in ((q_lengths, 1, T), (kv_lengths, 2, S)):
        if lengths is not None:
            real = np.arange(size)[None] < np.asarray(lengths)[:, None]
            seen = seen & np.expand_dims(real, 3 - axis)
    return seen


def attention(
    q,
    k,
    v,
    *,
    mask,
    scale=None,
    softcap=None,
    bias=None,
    sinks=None,
    q_ids=None,
    kv_ids=None,
    q_lengths=None,
    kv_lengths=None,
):
    """[B, T, N, Hv] in float32; a query that sees nothing gives 0."""
    (B, T, N, H), (S, K) = q.shape, k.shape[1:3]
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    k, v = (jnp.repeat(x, N // K, axis=2) for x in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k, precision="highest")
    scores = scores * (H**-0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias.astype(jnp.float32)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    seen = visible(mask, B, T, S, q_ids, kv_ids, q_lengths, kv_lengths)[:, None]
    weights = jnp.where(seen, jnp.exp(jnp.where(seen, scores, 0.0)), 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    if sinks is not None:
        total = total + jnp.exp(sinks)[None, :, None, None]
    weights = weights / jnp.where(total == 0, 1.0, total)
    return jnp.einsum("bnts,bsnh->btnh", weights, v, precision="highest")


def options(
    *,
    scale=None,
    softcap=None,
    bias=None,
    sinks=None,
    q_ids=None,
    kv_ids=None,
    q_lengths=None,
    kv_lengths=None,
):
    """What `attention` takes by name, as a backend takes it."""
    # A key below 0 is padding.
    mask = None if kv_ids is None else kv_ids >= 0
    return {
        "scoring": Scoring(scale, softcap, bias, sinks),
        "q_info": TokenInfo(q_ids, lengths=q_lengths),
        "kv_info": TokenInfo(kv_ids, lengths=kv_lengths, mask=mask),
    }


def arrays(B=2, T=256, S=256, N=4, K=2, H=16, Hv=16, dtype=jnp.float32, seed=0):
    """q, k and v."""
    random = np.random.default_rng(seed)
    shapes = (B, T, N, H), (B, S, K, H), (B, S, K, Hv)
    return tuple(jnp.asarray(random.normal(size=shape), dtype) for shape in shapes)


def packed(B, L, padding=0, seed=1):
    """Ascending segment ids [B, L], the last `padding` of them -1."""
    ids = np.sort(np.random.default_rng(seed).integers(0, 3, (B, L)), axis=1)
    ids[:, L - padding :] = -1
    return jnp.asarray(ids, jnp.int32)


def with_gradients(attend, qkv, **moving):
    """The output, and the gradients of a fixed weighting of it in q, k, v and `moving`."""
    shape = (*qkv[0].shape[:3], qkv[2].shape[-1])
    weighting = jnp.asarray(np.random.default_rng(9).normal(size=shape), jnp.float32)

    def loss(qkv, moving):
        out = attend(*qkv, **moving)
        return (out.astype(jnp.float32) * weighting).sum(), out

    # Library code broadcasts as it likes.
    with jax.numpy_rank_promotion("allow"):
        (_, out), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
            qkv, moving
        )
    return out, grads


def assert_agrees(actual, expected, tolerance):
    """Outputs and gradients, within `tolerance` of the largest expected value."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a, np.float32), np.asarray(e, np.float32)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1, abs(e).max()))
