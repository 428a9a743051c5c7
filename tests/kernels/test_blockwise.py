"""Tile by tile equals the definition, values and gradients, whatever the shape."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from attn.kernels.blockwise import blockwise_attention
from attn.kernels.dense import dense_attention
from attn.masks import FULL, Causal, Chunk, Global, Prefix, Window

KINDS = {"dense": dense_attention, "blockwise": partial(blockwise_attention, block=4)}


def inputs(T, S, H=4, Hv=3, size=1.0):
    keys = jax.random.split(jax.random.key(5), 3)
    shapes = ((T, H), (S, H), (S, Hv))
    return [size * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def loss(out, lse, xp):
    """A number that every output and every finite log-sum-exp moves."""
    # As a merge of parts does: a row that sees nothing takes no part.
    finite = xp.where(lse == -xp.inf, 0.0, lse)
    T, Hv = out.shape
    weights = np.cos(np.arange(T * Hv)).reshape(T, Hv), np.sin(1.0 + np.arange(T))
    return (out * weights[0]).sum() + (finite * weights[1]).sum()


def values_and_grads(kind, arrays, mask, ids=(None, None)):
    """Output, log-sum-exp and the gradients of both by q, k and v."""

    def run(q, k, v):
        out, lse = KINDS[kind](q, k, v, mask=mask, q_ids=ids[0], kv_ids=ids[1])
        return loss(out.astype(jnp.float32), lse, jnp), (out, lse)

    graded = jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True)
    (_, values), grads = jax.jit(graded)(*arrays)
    return [np.asarray(x, np.float64) for x in (*values, *grads)]


def definition(arrays, seen):
    """The same five of the slow definition, by finite differences."""

    def run(q, k, v):
        return loss(*naive.softmax(q, k, v, seen), np)

    named = dict(zip("qkv", arrays, strict=True))
    grads = naive.gradient(run, named, np.ones(()))
    return [*naive.softmax(*arrays, seen), *grads.values()]


def assert_same(a, b, tolerance=2e-4):
    names = ("out", "lse", "d_q", "d_k", "d_v")
    for name, x, y in zip(names, a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("mask", "T", "S"),
    [
        (FULL, 11, 6),
        (Causal(), 12, 12),
        (Causal(), 5, 14),
        (Causal(2), 6, 9),
        (Causal() & (Window(2, 0) | Global(2)), 11, 11),
        (Causal() | Prefix(3), 12, 8),
        (~Chunk(5), 9, 9),
    ],
    ids=str,
)
def test_tiles_equal_the_definition_values_and_gradients(mask, T, S):
    arrays = inputs(T, S)
    assert_same(
        values_and_grads("blockwise", arrays, mask),
        definition(arrays, np.array(mask.dense(T, S))),
    )


@pytest.mark.parametrize("mask", [FULL, Causal(2)], ids=["full", "shifted"])
def test_dense_equals_the_definition_values_and_gradients(mask):
    arrays = inputs(6, 9)
    assert_same(
        values_and_grads("dense", arrays, mask),
        definition(arrays, np.array(mask.dense(6, 9))),
    )


@pytest.mark.parametrize("block", [1, 3, 64])
def test_the_block_size_changes_nothing(block):
    arrays = inputs(7, 10)
    tiles = jax.jit(partial(blockwise_attention, mask=Causal(1), block=block))(*arrays)
    dense = jax.jit(partial(dense_attention, mask=Causal(1)))(*arrays)
    for a, b in zip(tiles, dense, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_segments_and_padding_are_hidden_under_the_mask(kind):
    T, S = 11, 9
    q_ids = jnp.asarray([0, 0, 0, 1, 1, 1, 1, 2, 2, 7, 7])
    kv_ids = jnp.asarray([0, 0, 1, 1, 2, 2, 2, -1, -1])
    arrays = inputs(T, S)
    own = np.asarray(q_ids)[:, None] == np.asarray(kv_ids)[None, :]
    assert_same(
        values_and_grads(kind, arrays, Causal(), (q_ids, kv_ids)),
        definition(arrays, np.array(Causal().dense(T, S)) & own),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [~FULL, Causal(-5)], ids=["none", "blind_rows"])
def test_a_row_that_sees_nothing_is_zero_with_zero_gradient(kind, mask):
    out, lse, d_q, d_k, d_v = values_and_grads(kind, inputs(12, 12), mask)
    blind = ~mask.dense(12).any(axis=1)
    assert (out[blind] == 0).all()
    assert (lse[blind] == -np.inf).all()
    assert np.isfinite(lse[~blind]).all()
    assert (d_q[blind] == 0).all()
    unseen = ~mask.dense(12).any(axis=0)
    assert (d_k[unseen] == 0).all()
    assert (d_v[unseen] == 0).all()
    assert all(np.isfinite(x).all() for x in (out, d_q, d_k, d_v))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_through_log_sum_exp_of_blind_rows_is_not_nan(kind):
    arrays = inputs(8, 8)

    def loss(*arrays):
        return jnp.exp(KINDS[kind](*arrays, mask=Causal(-3))[1]).sum()

    for grad in jax.jit(jax.grad(loss, argnums=(0, 1)))(*arrays):
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scores_neither_overflow_nor_lose_the_largest(kind):
    arrays = inputs(9, 9, size=100.0)
    got = values_and_grads(kind, arrays, Causal())
    assert np.abs(got[1]).max() > 1e4
    expected = naive.softmax(*arrays, np.array(Causal().dense(9)))
    # float32 holds a score of 1e4 to 1e-3, so weights agree to about that.
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-2, atol=0.3)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)
    assert all(np.isfinite(x).all() for x in got)


@pytest.mark.parametrize("kind", KINDS)
def test_what_padding_holds_reaches_neither_values_nor_gradients(kind):
    q, k, v = inputs(9, 9)
    bad = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf])[:, None]
    ids = (jnp.zeros(9, int), jnp.where(jnp.arange(9) < 6, 0, -1))
    clean = values_and_grads(kind, (q, k, v), FULL, ids)
    dirty = values_and_grads(kind, (q, k.at[6:].set(bad), v.at[6:].set(bad)), FULL, ids)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tiles_that_the_mask_hides_are_never_read():
    q, k, v = inputs(16, 16)
    hidden = jnp.arange(16) >= 8
    v = jnp.where(hidden[:, None], jnp.nan, v)
    out, _ = jax.jit(partial(blockwise_attention, mask=Causal(), block=4))(q, k, v)
    assert np.isfinite(out[:8]).all()


def test_bfloat16_tiles_equal_the_definition_within_their_rounding():
    arrays = [x.astype(jnp.bfloat16) for x in inputs(11, 11)]
    assert_same(
        values_and_grads("blockwise", arrays, Causal()),
        definition(arrays, np.array(Causal().dense(11))),
        tolerance=4e-2,
    )


def test_outputs_over_disjoint_keys_merge_by_their_log_sum_exps():
    q, k, v = inputs(6, 10)
    tiles = jax.jit(partial(blockwise_attention, mask=FULL, block=4))
    whole = tiles(q, k, v)[0]
    parts = [tiles(q, k[s], v[s]) for s in (slice(0, 4), slice(4, 10))]
    shares = jax.nn.softmax(jnp.stack([lse for _, lse in parts]), axis=0)
    merged = sum(s[:, None] * out for s, (out, _) in zip(shares, parts, strict=True))
    np.testing.assert_allclose(merged, whole, rtol=1e-5, atol=1e-5)
