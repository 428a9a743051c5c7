"""Decoding equals the whole sequence at once, from a cache of the size that is told."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
import tiny

from attn.attention import attend
from attn.attention.decode import KeyCache, StateCache, begin, prefill, step
from attn.kernels import KERNELS, TokenInfo
from attn.masks import Causal

B, T, P, N, K, H = 3, 24, 12, 4, 2, 4
LENGTHS = np.array([5, 12, 8])
"""Real tokens of each prompt of P; the last one has its padding in front."""
REAL = np.stack([np.arange(P) < 5, np.arange(P) < 12, np.arange(P) >= 4])
POSITIONS = np.maximum(np.arange(P) - np.array([[0], [0], [4]]), 0)
DECODE = [
    name if name in (*naive.PATHS, "bigbird") else tiny.exhaustive(name)
    for name in KERNELS
    if "decoding" in KERNELS[name].can
]
"""Masks differ in their slots alone (`tests/masks/test_lifetime.py`), but for one that
is drawn for a length."""


def sequences(spec, width=None):
    """q, k and v [B, T, ., .], grouped, and the weights of N heads or None."""
    random = np.random.default_rng(3)
    Hv = naive.value_width(spec, H, 3) if width is None else width
    shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, Hv))
    arrays = [random.normal(size=s).astype(np.float32) for s in shapes]
    return arrays, naive.own_weights(spec, H, T, N) or None


def prompts_of(x):
    """The prompts [B, P, ., .] of sequences, each where its real tokens are."""
    return jnp.take_along_axis(x, jnp.asarray(POSITIONS)[:, :, None, None], axis=1)


@partial(jax.jit, static_argnums=(0, 1))
def decoded(spec, mask, arrays, weights, bias, scale=None):
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


def assert_decodes(spec, mask=Causal(), bias=None, arrays=None, weights=None):
    if arrays is None:
        arrays, weights = sequences(spec)
    whole, first, steps, cache = jax.device_get(
        decoded(spec, mask, arrays, weights, bias)
    )
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


@pytest.mark.parametrize("name", DECODE)
def test_token_by_token_is_the_whole_sequence_from_a_cache_of_the_size_told(name):
    spec = naive.SPECS[name]
    cache = assert_decodes(spec)
    assert numbers(cache) == spec.state_size(T, H, naive.value_width(spec, H, 3))
    shares = isinstance(cache, KeyCache) or spec.owns == "nothing"
    assert jax.tree.leaves(cache)[0].shape[1] == (K if shares else N)
