"""The pseudo-inverse by steps, and landmarks of sequences with padding."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from attn.errors import UserError
from attn.kernels import Nystrom
from attn.kernels.lowrank.nystrom import landmarks, pseudo_inverse
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL

T, H = 9, 4


def inputs(T=T, S=T):
    random = np.random.default_rng(5)
    shapes = (T, H), (S, H), (S, 3)
    return [random.normal(size=s).astype(np.float32) for s in shapes]


def inverses(A, *steps):
    """The pseudo-inverse after each number of steps, by one program."""
    run = jax.jit(lambda A: [pseudo_inverse(A, n) for n in steps])
    return jax.device_get(run(np.float32(A)))


def softmax_map(L):
    scores = np.random.default_rng(1).normal(size=(L, L)) + np.eye(L)
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def test_the_iteration_converges_to_the_pseudo_inverse():
    A = softmax_map(5)
    expected = np.linalg.pinv(A)
    errors = [np.abs(Z - expected).max() for Z in inverses(A, 4, 6, 8, 20)]
    assert errors[0] > errors[1] > 1e-1 > 1e-4 > errors[2]
    assert errors[3] < 1e-4


def test_a_step_cubes_the_error_and_small_values_grow_by_thirteen_fourths():
    def of(size, iterations):
        # The norms of the first guess are 1, so it is A itself.
        return float(inverses(np.diag([1.0, size]), iterations)[0][1, 1])

    off = 1 - 0.9**2
    assert 1 - 0.9 * of(0.9, 1) == pytest.approx(0.75 * off**3 + off**4 / 4, rel=1e-3)
    assert of(1e-3, 3) == pytest.approx(1e-3 * (13 / 4) ** 3, rel=1e-3)


def test_rows_and_columns_without_a_landmark_stay_out_of_the_inverse():
    A = softmax_map(5)
    A[[1, 3]] = A[:, [1, 3]] = 0.0
    for Z in inverses(A, 6, 30):
        assert (Z[[1, 3]] == 0).all()
        assert (Z[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(Z, np.linalg.pinv(A), atol=1e-4)


def test_landmarks_are_means_of_segments_of_the_real_tokens():
    x = np.arange(9, dtype=np.float32)[:, None]
    run = jax.jit(landmarks, static_argnums=2)
    means, ids = run(x, None, 4)
    np.testing.assert_allclose(means[:, 0], [1.0, 3.5, 5.5, 7.5])
    assert ids.tolist() == [0, 0, 0, 0]
    # The same tokens with padding among them, of any value and segment number.
    positions = np.array([0, 2, 3, 4, 6, 8, 9, 10, 11])
    padded, padded_ids = np.full((13, 1), np.nan, np.float32), np.full(13, -1)
    padded[positions], padded_ids[positions] = x, 5
    again, ids = run(padded, padded_ids, 4)
    np.testing.assert_allclose(again, means)
    means, ids = run(x + np.float32(1), np.where(np.arange(9) < 3, 0, -1), 5)
    assert ids.tolist() == [0, 0, -1, 0, -1]
    assert np.asarray(means)[:, 0].tolist() == [1, 2, 0, 3, 0]


@partial(jax.jit, static_argnames="spec")
def graded(spec, q, k, v, ids):
    """The output, and gradients by q, k and v."""

    def loss(q, k, v):
        out = spec(q, k, v, mask=FULL, kv_info=TokenInfo(ids))
        return jnp.sin(out).sum(), out

    (_, out), grads = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(q, k, v)
    return out, grads


@pytest.mark.parametrize("real", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("S", [T, T + 3])
def test_padding_equals_its_absence_with_fewer_real_keys_than_landmarks_too(real, S):
    spec, (q, k, v) = Nystrom(num_landmarks=5, iterations=5), inputs(T, S)
    ids = np.where(np.arange(S) < real, 0, -1)
    bad = [x.copy() for x in (k, v)]
    for x in bad:
        x[real:] = np.nan
    out, grads = jax.device_get(graded(spec, q, *bad, ids))
    seen = np.broadcast_to(ids >= 0, (T, S))
    slow = [np.asarray(x, np.float64) for x in (q, k, v)]
    expected = naive.define(spec, *slow, seen, {})
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    assert all(np.isfinite(g).all() for g in grads)
    assert all((g[real:] == 0).all() for g in grads[1:])


def test_padded_queries_are_in_no_landmark_of_self_attention_alone():
    spec, ids = Nystrom(num_landmarks=3), np.where(np.arange(T) < 6, 0, -1)
    q, k, v = inputs()
    other = q.copy()
    other[6:] = 7.0

    @jax.jit
    def both(q, k, v, ids):
        several = spec(q, k, v, mask=FULL, kv_info=TokenInfo(ids))
        info = TokenInfo(ids[:7])
        return several[:6], spec(q, k[:7], v[:7], mask=FULL, kv_info=info)[:6]

    (a, of_cross), (b, other_of_cross) = (
        jax.device_get(both(x, k, v, ids)) for x in (q, other)
    )
    np.testing.assert_array_equal(a, b)
    a, b = of_cross, other_of_cross
    assert np.abs(a - b).max() > 1e-3


def test_sixteen_bit_inputs_are_inverted_in_float32():
    spec, arrays = Nystrom(num_landmarks=T, iterations=14), inputs()
    half = [x.astype(jnp.bfloat16) for x in arrays]
    run = jax.jit(lambda *x: spec(*x, mask=FULL))
    out, expected = run(*half), np.asarray(run(*(np.float32(x) for x in half)))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, expected.astype(jnp.bfloat16))


def test_fewer_tokens_than_landmarks_are_refused_by_name():
    with pytest.raises(
        UserError, match=r"nystrom\.num_landmarks = 32; the sequence has 9"
    ):
        Nystrom().check_length(T)
