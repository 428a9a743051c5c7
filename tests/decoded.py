"""Sequences decoded from prompts with padding, and as a whole."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np

from attn.attention import attend
from attn.attention.decode import StateCache, begin, prefill, step
from attn.kernels import TokenInfo
from attn.masks import Causal

B, T, P, N, K, H = 3, 24, 12, 4, 2, 4
LENGTHS = np.array([5, 12, 8])
"""Real tokens of each prompt of P; the last one has its padding in front."""
REAL = np.stack([np.arange(P) < 5, np.arange(P) < 12, np.arange(P) >= 4])
POSITIONS = np.where(REAL, np.arange(P) - np.array([[0], [0], [4]]), 0)


def sequences(spec):
    """q, k and v [B, T, ., .], grouped, and the weights of N heads or None."""
    random = np.random.default_rng(3)
    Hv = naive.value_width(spec, H, 3)
    shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, Hv))
    arrays = [random.normal(size=s).astype(np.float32) for s in shapes]
    return arrays, naive.own_weights(spec, H, T, N) or None


def prompts_of(x):
    """The prompts [B, P, ., .] of sequences; what is padding is no number."""
    found = jnp.take_along_axis(x, jnp.asarray(POSITIONS)[:, :, None, None], axis=1)
    return jnp.where(jnp.asarray(REAL)[:, :, None, None], found, jnp.nan)


@partial(jax.jit, static_argnums=(0, 1, 5))
def decoded(spec, mask, arrays, weights, bias, scale):
    """The whole forward pass, and the prompt, the steps and the cache of decoding."""
    options = {"bias": bias, "weights": weights, "scale": scale, "mask": mask}
    whole = attend(spec, *arrays, **options)
    info = TokenInfo(mask=jnp.asarray(REAL), positions=jnp.asarray(POSITIONS))
    cache = begin(spec, mask, B, T, heads=(N, K), widths=(H, arrays[2].shape[-1]))
    first, cache = prefill(spec, *map(prompts_of, arrays), cache, info=info, **options)

    def one(cache, n):
        at = jnp.asarray(LENGTHS) + n
        # A row that is done goes on with what must not be kept.
        now = jnp.minimum(at, T - 1)[:, None, None, None]
        token = [jnp.take_along_axis(x, now, axis=1) for x in arrays]
        out, cache = step(
            spec, *token, cache, positions=at[:, None], active=at < T, **options
        )
        return cache, out[:, 0]

    cache, steps = jax.lax.scan(one, cache, jnp.arange(T - LENGTHS.min()))
    return whole, first, steps, cache


def assert_decodes(spec, mask=Causal(), bias=None, scale=None):
    arrays, weights = sequences(spec)
    found = decoded(spec, mask, arrays, weights, bias, scale)
    whole, first, steps, cache = jax.device_get(found)
    for b, length in enumerate(LENGTHS):
        np.testing.assert_allclose(
            first[b, REAL[b]], whole[b, :length], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            steps[: T - length, b], whole[b, length:], rtol=1e-5, atol=1e-5
        )
    return cache


def numbers(cache):
    """The numbers that a key/value head, or a state, has in the cache."""
    leaves = jax.tree.leaves(
        cache.state if isinstance(cache, StateCache) else (cache.k, cache.v)
    )
    return sum(x.size // (B * x.shape[1]) for x in leaves)
