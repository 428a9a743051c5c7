"""Positions: what each scheme promises, by values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.positions import Alibi, T5Bias, alibi_slopes, rotary, sinusoidal


@pytest.mark.parametrize("D", [8, 7])
def test_sinusoidal_is_its_formula(D):
    table = np.asarray(sinusoidal(50, D))
    half = (D + 1) // 2
    for t in (0, 1, 7, 49):
        for i in range(half):
            angle = t / 10_000 ** (2 * i / D)
            assert table[t, i] == pytest.approx(np.sin(angle), abs=1e-5)
            if half + i < D:
                assert table[t, half + i] == pytest.approx(np.cos(angle), abs=1e-5)


def turned(x: np.ndarray, T: int) -> np.ndarray:
    """One vector [H] at every place: [T, H]."""
    every = jnp.broadcast_to(jnp.asarray(x)[None, None, None], (1, T, 1, x.size))
    return np.asarray(jax.jit(rotary)(every))[0, :, 0]


def test_rotary_is_its_formula():
    x = np.random.default_rng(0).normal(size=6).astype(np.float32)
    out = turned(x, 40)
    for t in (0, 1, 39):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            pair = (x[i] + 1j * x[i + 3]) * np.exp(1j * angle)
            assert out[t, i] == pytest.approx(pair.real, abs=1e-5)
            assert out[t, i + 3] == pytest.approx(pair.imag, abs=1e-5)


def test_rotary_scores_depend_on_distance_only():
    random = np.random.default_rng(1)
    q, k = random.normal(size=(2, 8)).astype(np.float32)
    scores = turned(q, 64) @ turned(k, 64).T
    for distance in (-20, -3, 0, 1, 17):
        along = np.diagonal(scores, distance)
        np.testing.assert_allclose(along, along[0], atol=2e-5)
    assert abs(scores[0, 0] - scores[0, 9]) > 1e-2


def test_rotary_keeps_norms_dtype_and_the_first_token():
    x = jax.random.normal(jax.random.key(0), (2, 33, 3, 8))
    out = jax.jit(rotary)(x)
    np.testing.assert_allclose(
        jnp.linalg.norm(out, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5
    )
    np.testing.assert_array_equal(out[:, 0], x[:, 0])
    assert rotary(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_alibi_slopes_are_those_of_the_paper():
    np.testing.assert_allclose(alibi_slopes(8), 0.5 ** np.arange(1, 9))
    between = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    np.testing.assert_allclose(alibi_slopes(12)[8:], between, rtol=1e-6)


def t5_bucket(distance, bidirectional, buckets, max_distance):
    """As the authors' code says it (mesh_tensorflow, transformer_layers.py)."""
    first, behind = 0, -distance
    if bidirectional:
        buckets //= 2
        first = buckets * (behind < 0)
        behind = abs(behind)
    else:
        behind = max(behind, 0)
    exact = buckets // 2
    if behind < exact:
        return first + behind
    far = math.log(behind / exact) / math.log(max_distance / exact)
    return first + min(exact + int(far * (buckets - exact)), buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_buckets_are_those_of_its_authors(bidirectional):
    bias = T5Bias(jnp.zeros(32), bidirectional, 128)
    distances = np.arange(-300, 301)
    expected = [t5_bucket(int(d), bidirectional, 32, 128) for d in distances]
    np.testing.assert_array_equal(bias.bucket(jnp.asarray(distances)), expected)


@pytest.mark.parametrize(
    "bias", [Alibi(jnp.asarray([0.5, 2.0])), T5Bias(jnp.arange(16.0).reshape(2, 8))]
)
def test_a_tile_of_a_bias_is_the_bias_at_its_distances(bias):
    for start, C, D in ((0, 3, 5), (-4, 5, 2), (7, 1, 1)):
        distance = start + np.arange(D)[None] - np.arange(C)[:, None]
        tile = bias.tile(jnp.asarray(start), C, D)
        np.testing.assert_array_equal(tile, bias.at(jnp.asarray(distance)))
