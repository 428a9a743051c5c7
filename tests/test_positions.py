"""Positions: what each scheme promises, by values."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.errors import UserError
from attn.positions import Alibi, T5Bias, alibi_slopes, rotary, sinusoidal


@pytest.mark.parametrize("D", [8, 7])
def test_sinusoidal_is_its_formula(D):
    table = np.asarray(sinusoidal(jnp.arange(50), D))
    half = (D + 1) // 2
    for t in (0, 1, 7, 49):
        for i in range(half):
            angle = t / 10_000 ** (2 * i / D)
            assert table[t, i] == pytest.approx(np.sin(angle), abs=1e-5)
            if half + i < D:
                assert table[t, half + i] == pytest.approx(np.cos(angle), abs=1e-5)


def test_sinusoidal_takes_positions_of_any_shape_in_their_own_precision():
    positions = np.asarray([[3, 0], [7, 7], [49, 1]])
    rows = sinusoidal(jnp.arange(50), 6)[positions]
    np.testing.assert_array_equal(sinusoidal(jnp.asarray(positions), 6), rows)
    with jax.enable_x64(True):
        table = sinusoidal(jnp.asarray(positions, "float64"), 6)
        angles = positions[..., None] * 10_000.0 ** (-np.arange(3) / 3)
        expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        np.testing.assert_allclose(table, expected, rtol=0, atol=1e-14)


def rotated(x: np.ndarray, T: int) -> np.ndarray:
    """One vector [H] at every position: [T, H]."""
    every = jnp.broadcast_to(jnp.asarray(x)[None, None, None], (1, T, 1, x.size))
    return np.asarray(jax.jit(rotary)(every))[0, :, 0]


def test_rotary_is_its_formula():
    x = np.random.default_rng(0).normal(size=6).astype(np.float32)
    out = rotated(x, 40)
    for t in (0, 1, 39):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            pair = (x[i] + 1j * x[i + 3]) * np.exp(1j * angle)
            assert out[t, i] == pytest.approx(pair.real, abs=1e-5)
            assert out[t, i + 3] == pytest.approx(pair.imag, abs=1e-5)


def test_a_part_of_a_head_is_rotated_as_a_head_of_that_width():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3, 10)), jnp.float32)
    found = rotary(x, dim=4)
    np.testing.assert_array_equal(found[..., 4:], x[..., 4:])
    np.testing.assert_allclose(found[..., :4], rotary(x[..., :4]), rtol=1e-6)
    assert not np.allclose(found[:, 1:, :, :4], x[:, 1:, :, :4])


def test_rotary_scores_depend_on_distance_only():
    random = np.random.default_rng(1)
    q, k = random.normal(size=(2, 8)).astype(np.float32)
    scores = rotated(q, 64) @ rotated(k, 64).T
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


def by_complex_numbers(x, positions, base):
    """Rotary in NumPy, float64, of x [B, T, N, H] at positions [B, T]."""
    C = x.shape[-1] // 2
    angles = positions[..., None, None] * base ** (-np.arange(C) / C)
    rotated = (x[..., :C] + 1j * x[..., C:]) * np.exp(1j * angles)
    return np.concatenate([rotated.real, rotated.imag], axis=-1)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize("shared", [True, False])
def test_rotary_turns_by_the_positions_and_the_base_it_is_given(shared, base):
    random = np.random.default_rng(2)
    x = random.normal(size=(3, 5, 2, 6))
    positions = random.integers(0, 100, (1 if shared else 3, 5)) + 0.5
    expected = by_complex_numbers(x, positions, base)
    out = rotary(jnp.asarray(x, "float32"), jnp.asarray(positions), base=base)
    np.testing.assert_allclose(out, expected, rtol=0, atol=3e-5)


def test_rotary_of_float64_is_computed_in_float64():
    x = np.random.default_rng(3).normal(size=(2, 70, 1, 8))
    with jax.enable_x64(True):
        expected = by_complex_numbers(x, np.arange(70)[None], 10_000.0)
        wide = jnp.asarray(x)
        np.testing.assert_allclose(rotary(wide), expected, rtol=0, atol=1e-13)
        at = rotary(wide, jnp.arange(70)[None])
        np.testing.assert_array_equal(at, rotary(wide))
        narrow = rotary(wide.astype("float32"))
    # Whether float64 is switched on says nothing about float32.
    np.testing.assert_array_equal(narrow, rotary(jnp.asarray(x, "float32")))


def test_rotary_of_an_odd_width_is_refused():
    with pytest.raises(UserError, match="head dim 7 is odd"):
        rotary(jnp.ones((1, 2, 1, 7)))


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


def exact_bucket(distance, bidirectional, buckets, max_distance):
    """The same in whole numbers: log(b / e) / log(m / e) n >= j is b^n >= m^j e^(n - j)."""
    first, behind = 0, max(-distance, 0)
    if bidirectional:
        buckets //= 2
        first, behind = buckets * (distance > 0), abs(distance)
    exact = buckets // 2
    if behind < exact:
        return first + behind
    n = buckets - exact
    reached = [behind**n >= max_distance**j * exact ** (n - j) for j in range(1, n)]
    return first + exact + sum(reached)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets", [8, 12, 32, 40, 64])
def test_t5_buckets_are_right_where_a_logarithm_is_whole(buckets, bidirectional):
    distances = np.arange(-300, 301)
    for max_distance in (33, 64, 100, 128, 256, 1000):
        bias = T5Bias(jnp.zeros(buckets), bidirectional, max_distance)
        case = bidirectional, buckets, max_distance
        expected = [exact_bucket(int(d), *case) for d in distances]
        found = bias.bucket(jnp.asarray(distances))
        np.testing.assert_array_equal(found, expected, err_msg=str(case))


@partial(jax.jit, static_argnums=(3, 4))
def tile_and_bias(bias, start, distance, C, D):
    return bias.tile(start, C, D), bias.at(distance)


@pytest.mark.parametrize(
    "bias", [Alibi(jnp.asarray([0.5, 2.0])), T5Bias(jnp.arange(16.0).reshape(2, 8))]
)
def test_a_tile_of_a_bias_is_the_bias_at_its_distances(bias):
    for start, C, D in ((0, 3, 5), (-4, 5, 2), (7, 1, 1)):
        distance = start + np.arange(D)[None] - np.arange(C)[:, None]
        both = tile_and_bias(bias, jnp.asarray(start), jnp.asarray(distance), C, D)
        np.testing.assert_array_equal(*both)
