"""Random features: how near softmax they come, and that nothing overflows."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from attn.kernels import Performer
from attn.masks import FULL, Causal


def inputs(T, H, size):
    keys = jax.random.split(jax.random.key(2), 3)
    q, k, v = (jax.random.normal(key, (T, H)) for key in keys)
    return size * q, size * k, v


def runner(spec, mask):
    return jax.jit(lambda q, k, v, w: spec(q, k, v, mask=mask, weights=w))


@cache
def directions(seeds, num_features):
    """Of several seeds, for heads of width 8: [seeds, R, 8]."""
    spec = Performer(num_features=num_features)
    init = jax.jit(jax.vmap(lambda key: spec.init(key, head_dim=8, kv_len=1)))
    return init(jax.random.split(jax.random.key(0), seeds))["directions"]


def test_error_falls_as_one_over_the_root_of_the_features():
    q, k, v = inputs(16, 8, 0.5)
    expected, _ = naive.softmax(q, k, v, np.full((16, 16), True))
    run = jax.vmap(runner(Performer(), FULL), in_axes=(None, None, None, 0))
    errors = {}
    for num_features in (32, 512):
        w = directions(64, 512)[:, :num_features]
        out = run(q, k, v, {"directions": w})
        errors[num_features] = np.sqrt(np.square(out - expected[None]).mean())
    assert errors[512] < 0.03
    assert 3.0 < errors[32] / errors[512] < 5.5  # the root of 16 is 4


def estimates(x, y):
    """Of exp(x . y), by each block of eight orthogonal features: [blocks, pairs]."""
    w = np.asarray(directions(64, 512), np.float64).reshape(-1, 8, 8)
    phi_x, phi_y = (
        np.exp(np.einsum("bmh,ph->bpm", w, a) - 0.5 * (a * a).sum(1)[:, None])
        for a in (x, y)
    )
    return (phi_x * phi_y).mean(axis=2)


def relative_variance(length, H):
    """Of the mean of H orthogonal features, over exp(x . y)^2; length is |x + y|^2.

    A feature has exp(length) - 1: lemma 2. Of two, w + w' has any direction and a
    squared length that is chi-squared of 2 H degrees, so the moment of their product is
    1F1(H, H / 2, length / 2) / exp(length), which is below the 1 of independent ones.
    """
    positions = np.arange(40)
    terms = (H + positions) / (H / 2 + positions) / (positions + 1) * length / 2
    pair = (1 + np.cumprod(terms).sum()) / np.exp(length)
    return ((np.exp(length) - 1) + (H - 1) * (pair - 1)) / H


@pytest.mark.parametrize("length", [0.25, 0.5, 1.0])
def test_the_estimate_of_a_weight_has_the_mean_and_variance_of_theory(length):
    random = np.random.default_rng(0)
    along, across = random.normal(size=(2, 16, 8))
    along *= length**0.5 / np.linalg.norm(along, axis=1, keepdims=True)
    x, y = along / 2 + 0.1 * across, along / 2 - 0.1 * across
    relative = estimates(x, y) / np.exp((x * y).sum(axis=1))[None]
    np.testing.assert_allclose(relative.mean(axis=0), 1.0, atol=0.02)
    variance = np.square(relative - 1).mean()
    assert variance == pytest.approx(relative_variance(length, 8), rel=0.03)
    assert variance < 0.95 * (np.exp(length) - 1) / 8  # of independent directions


def test_directions_are_orthogonal_in_blocks_with_lengths_of_normal_vectors():
    spec = Performer(num_features=40)
    w = np.asarray(spec.init(jax.random.key(0), head_dim=16, kv_len=1)["directions"])
    assert w.shape == (40, 16)
    for block in (w[:16], w[16:32], w[32:]):
        angles = block @ block.T / np.outer(*[np.linalg.norm(block, axis=1)] * 2)
        np.testing.assert_allclose(angles, np.eye(len(block)), atol=1e-5)
    lengths = np.square(np.linalg.norm(w, axis=1))
    assert lengths.mean() == pytest.approx(16, rel=0.2)
    assert lengths.std() > 2


@pytest.mark.parametrize("mask", [FULL, Causal()], ids=["full", "causal"])
@pytest.mark.parametrize("H", [64, 128])
def test_scores_of_a_trained_size_neither_overflow_nor_vanish(mask, H):
    spec = Performer(num_features=64)
    weights = {"directions": jnp.asarray(np.random.default_rng(0).normal(size=(64, H)))}

    def loss(q, k, v):
        out = spec(q, k, v, mask=mask, weights=weights)
        return jnp.sin(out).sum(), out

    graded = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    for size in (2.0, 3.0):
        q, k, v = inputs(70, H, size)
        assert np.abs(q @ k.T).max() * H**-0.5 > 10
        (_, out), grads = graded(q, k, v)
        for x in (out, *grads):
            assert np.isfinite(x).all()
            assert np.abs(x).max() < 1e3
        assert (np.abs(out).max(axis=1) > 0).all()
        ones = graded(q, k, jnp.ones_like(v))[0][1]
        np.testing.assert_allclose(ones, 1.0, rtol=1e-4)


def test_directions_are_those_of_jax_and_no_two_are_made_at_once():
    key = jax.random.key(3)
    expected = jax.random.orthogonal(jax.random.split(key)[0], 8, shape=(4,))
    own = Performer(num_features=32).init(key, head_dim=8, kv_len=1)["directions"]
    unit = own / jnp.linalg.norm(own, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected.reshape(-1, 8), atol=1e-6)
    init = partial(Performer(num_features=32).init, head_dim=8, kv_len=1)
    program = jax.make_jaxpr(jax.vmap(jax.vmap(init)))(jax.random.split(key, (3, 2)))
    lines = [line for line in str(program).splitlines() if " = qr[" in line]
    shapes = re.findall(r":f32\[([0-9,]*)\]", " ".join(lines))
    assert shapes == ["8,8", "8,8"], "a factor of one matrix at a time"
