"""Performer in float32 is its float64 definition however large queries and keys are."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.kernels import Performer
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal

T, H, HV, R = 150, 8, 3, 12
SPEC = Performer(num_features=R)
PADDING = np.isin(np.arange(T), [0, 1, 66, 67, T - 1])
"""The first key too: under Causal() the first query then sees nothing."""
SIZES = (1.0, 6.0, 10.0, 40.0)
"""Standard deviations of queries and keys; float32 holds an exponent at 40 to 1e-4."""


@cache
def inputs():
    """q, k, v of unit size, a cotangent and the directions, float64."""
    random = np.random.default_rng(3)
    shapes = (T, H), (T, H), (T, HV), (T, HV), (R, H)
    return [random.normal(size=shape) for shape in shapes]


def definition(q, k, v, seen):
    """By the logarithm of every pair's weight, so that nothing under- or overflows."""
    q, k = (x * H**-0.25 for x in (q, k))
    w = jnp.asarray(inputs()[-1])
    log_q, log_k = q @ w.T, k @ w.T - 0.5 * jnp.square(k).sum(axis=1, keepdims=True)
    scores = jax.nn.logsumexp(log_q[:, None] + log_k[None], axis=2)
    scores = jnp.where(seen, scores, -jnp.inf)
    blind = ~seen.any(axis=1, keepdims=True)
    return jnp.where(blind, 0.0, jax.nn.softmax(jnp.where(blind, 0.0, scores)) @ v)


def graded(run, dtype):
    """(size) to the output and the gradients by q, k and v."""
    q, k, v, cotangent, _ = (jnp.asarray(x, dtype) for x in inputs())

    def loss(q, k, v):
        out = run(q, k, v)
        return (out * cotangent).sum(), out

    @jax.jit
    def both(size):
        (_, out), grads = jax.value_and_grad(loss, (0, 1, 2), True)(
            size * q, size * k, v
        )
        return out, *grads

    return lambda size: both(jnp.asarray(size, dtype))


@cache
def expected(causal, padded):
    seen = np.tri(T, dtype=bool) if causal else np.full((T, T), True)
    seen = seen & ~(padded & PADDING)[None]
    with jax.enable_x64(True):
        run = graded(lambda q, k, v: definition(q, k, v, seen), "float64")
        return [[np.asarray(x) for x in run(size)] for size in SIZES]


def assert_equal_at_every_size(run, wanted):
    for size, found in zip(SIZES, wanted):
        tolerance = 2e-5 + 1e-6 * size**2
        for name, x, y in zip(("out", "d_q", "d_k", "d_v"), run(size), found):
            message = f"{name} at {size}"
            bound = tolerance * np.abs(y).max()
            np.testing.assert_allclose(x, y, rtol=0, atol=bound, err_msg=message)


@pytest.mark.parametrize("mask", [FULL, Causal()], ids=["full", "causal"])
@pytest.mark.parametrize("form", SPEC.implementations)
def test_values_and_gradients_are_those_of_float64_at_any_size(form, mask):
    own = {"directions": jnp.asarray(inputs()[-1], "float32")}
    info = TokenInfo(mask=jnp.asarray(~PADDING))

    def run(q, k, v):
        return SPEC(q, k, v, mask=mask, weights=own, kv_info=info, form=form)

    assert_equal_at_every_size(graded(run, "float32"), expected(mask != FULL, True))


def test_token_by_token_values_and_gradients_are_those_of_float64_at_any_size():
    own = {"directions": jnp.asarray(inputs()[-1], "float32")}

    def run(q, k, v):
        def one(state, token):
            return SPEC.step(state, *token, weights=own)

        return jax.lax.scan(one, SPEC.begin(H, HV), (q, k, v))[1]

    assert_equal_at_every_size(graded(run, "float32"), expected(True, False))


@pytest.mark.parametrize("form", SPEC.implementations)
def test_a_huge_later_key_neither_moves_nor_silences_an_earlier_query(form):
    q, k, v, _, w = (np.float32(x) for x in inputs())
    own, cut = {"directions": jnp.asarray(w)}, 37
    run = jax.jit(lambda *x: SPEC(*x, mask=Causal(), weights=own, form=form))
    before = run(q, k, v)
    later = np.arange(T)[:, None] >= cut
    after = run(q, np.where(later, 1e3 * k, k), np.where(later, 1e3 * v, v))
    np.testing.assert_array_equal(after[:cut], before[:cut])
    assert (after[cut:] != before[cut:]).any()
