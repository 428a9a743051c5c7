"""Sinkhorn attention beyond what every mechanism is asked: its matrix, its memory."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from attn.errors import UserError
from attn.kernels import SinkhornAttention
from attn.kernels.sparse.sinkhorn import sinkhorn
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL


def test_after_many_rounds_rows_and_columns_sum_to_one():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 6)), jnp.float32)
    live = jnp.asarray([1, 1, 0, 1, 1, 0], bool)
    R = np.asarray(sinkhorn(logits, live, 100))
    for axis in (0, 1):
        np.testing.assert_allclose(R.sum(axis=axis), 1.0, atol=1e-5)
    apart = np.asarray(live)[:, None] != np.asarray(live)[None]
    assert (R[apart] == 0).all()
    early = np.asarray(sinkhorn(logits, live, 1))
    np.testing.assert_allclose(early.sum(axis=0), 1.0, atol=1e-5)
    assert np.abs(early.sum(axis=1) - 1).max() > 1e-2


def test_logits_of_a_permutation_bring_its_blocks_in_whole():
    """With R a permutation, a query sees its own block and the one that R names."""
    C, H, order = 2, 3, [2, 0, 1]
    eye = jnp.eye(3)
    # Block b is known by its sum, e_b, which the network turns into logits of order[b].
    k = jnp.repeat(eye, C, axis=0) / C
    weights = {"W1": eye * 100.0, "W2": eye[jnp.asarray(order)]}
    q, v = np.random.default_rng(1).normal(size=(2, 6, H)).astype(np.float32)
    spec = SinkhornAttention(block=C)
    out = spec(jnp.asarray(q), k, jnp.asarray(v), mask=FULL, weights=weights)
    seen = np.zeros((6, 6), bool)
    for t in range(6):
        for b in (t // C, order[t // C]):
            seen[t, b * C : b * C + C] = True
    np.testing.assert_allclose(out, naive.softmax(q, k, v, seen)[0], atol=1e-5)


def test_a_place_that_is_padding_in_every_block_is_not_seen():
    spec, T = SinkhornAttention(block=4), 4
    q, k, v = jnp.asarray(np.random.default_rng(2).normal(size=(3, T, 4)), jnp.float32)
    weights, real = naive.own_weights(spec, 4, T), np.arange(T) < 2
    ids = jnp.where(jnp.asarray(real), 0, -1)
    out = spec(q, k, v, mask=FULL, weights=weights, kv_info=TokenInfo(ids))
    seen = np.broadcast_to(real, (T, T))
    np.testing.assert_allclose(out, naive.softmax(q, k, v, seen)[0], atol=1e-5)


def test_a_sequence_of_more_blocks_than_it_was_made_for_is_refused():
    spec = SinkhornAttention(block=2)
    x = jnp.ones((9, 4))
    with pytest.raises(UserError, match="made for 4 blocks of 2 keys and was given 5"):
        spec(x, x, x, mask=FULL, weights=naive.own_weights(spec, 4, 8))


def test_memory_beside_the_matrix_grows_with_the_sequence_and_not_with_its_square():
    spec = SinkhornAttention()

    def bytes_of(T):
        x = jax.ShapeDtypeStruct((T, 32), jnp.float32)
        w = jax.eval_shape(lambda: spec.init(jax.random.key(0), head_dim=32, kv_len=T))
        run = jax.jit(lambda *a: spec(*a[:3], mask=FULL, weights=a[3]))
        return run.lower(x, x, x, w).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(4096) < 2.2 * bytes_of(2048)
