"""Positions: what each scheme promises, by values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.positions import rotary, sinusoidal


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
