"""Decoding equals the whole sequence at once, from a cache of the size that is told."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
import tiny
from decoded import H, K, N, T, assert_decodes, numbers

from attn import kernels
from attn.attention.decode import KeyCache
from attn.kernels import KERNELS
from attn.masks import Blocks, Causal, PerHead, Prefix, Window
from attn.positions import Alibi, T5Bias, alibi_slopes

DECODE = [
    name if name in (*naive.PATHS, "bigbird") else tiny.exhaustive(name)
    for name in KERNELS
    if "decoding" in KERNELS[name].can
]
"""Masks differ in their slots alone (`tests/masks/test_lifetime.py`), but for one that
is drawn for a length."""


@pytest.mark.parametrize("name", DECODE)
def test_token_by_token_is_the_whole_sequence_from_a_cache_of_the_size_told(name):
    spec = naive.SPECS[name]
    cache = assert_decodes(spec)
    width = naive.value_width(spec, H, 3)
    assert numbers(cache) == spec.state_size(T, H, width, Causal())
    shares = isinstance(cache, KeyCache) or spec.owns == "nothing"
    assert jax.tree.leaves(cache)[0].shape[1] == (K if shares else N)


LAYOUT = np.tril(np.arange(36).reshape(6, 6) % 3 > 0) | np.eye(6, dtype=bool)


@pytest.mark.parametrize(
    ("spec", "mask", "bias", "scale"),
    [
        (
            kernels.WindowAttention(width=5, softcap=1.5, sinks=True),
            Causal(),
            Alibi,
            0.7,
        ),
        (
            kernels.Softmax(),
            PerHead((Causal(), Causal() & Window(4, 0)) * 2),
            T5Bias,
            None,
        ),
        (kernels.Softmax(), Causal() & Blocks(LAYOUT, 4) | ~Prefix(T), None, None),
    ],
    ids=["capped, with sinks and ALiBi", "a mask a head and T5", "made for a length"],
)
def test_decoding_takes_all_that_the_call_takes(spec, mask, bias, scale):
    if bias is Alibi:
        bias = Alibi(alibi_slopes(N))
    elif bias is T5Bias:
        table = np.random.default_rng(4).normal(size=(N, 8)).astype(np.float32)
        bias = T5Bias(jnp.asarray(table), bidirectional=False, max_distance=16)
    assert_decodes(spec, mask, bias, scale)
