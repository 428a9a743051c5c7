"""The k largest scores: how many, which of equal ones, and in what memory."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive, full_compiles

from attn.attention import attend
from attn.kernels import TopK
from attn.kernels.sparse import topk
from attn.kernels.sparse.largest import ABSENT, positions_of_largest
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal, Chunk

T, H = 11, 4
SPEC = TopK(num_keys=3)


def inputs(T=T, S=T):
    random = np.random.default_rng(5)
    shapes = (T, H), (S, H), (S, 3)
    return [random.normal(size=s).astype(np.float32) for s in shapes]


@partial(jax.jit, static_argnames="mask")
def attended(q, k, v, mask):
    return SPEC(q, k, v, mask=mask)


def map_of(q, k, mask):
    return np.asarray(attended(q, k, np.eye(len(k), dtype=np.float32), mask))


def test_a_query_attends_to_exactly_k_keys_or_to_all_it_sees_if_fewer():
    q, k, _ = inputs()
    for mask in (FULL, Causal(), Chunk(2), Causal() & ~Chunk(4)):
        kept = (map_of(q, k, mask=mask) > 0).sum(axis=1)
        seen = mask.dense(T).sum(axis=1)
        np.testing.assert_array_equal(kept, np.minimum(seen, SPEC.num_keys))


def test_of_equal_scores_the_earlier_key_is_taken():
    k = inputs()[1]
    kept = map_of(np.zeros_like(k), k, mask=FULL)
    np.testing.assert_allclose(kept[:, :3], 1 / 3, rtol=1e-6)
    assert (kept[:, 3:] == 0).all()
    # One key stands out, and all others tie for the positions that are left.
    alone = np.zeros_like(k)
    alone[7] = 1.0
    kept = map_of(np.ones_like(k), alone, mask=FULL) > 0
    assert (np.flatnonzero(kept.all(axis=0)) == [0, 1, 7]).all()
    assert kept.sum() == 3 * T


@pytest.mark.parametrize("chunk", [exhaustive(1), 4, exhaustive(T), 64])
def test_chunks_of_queries_change_neither_output_nor_gradient(chunk, monkeypatch):
    arrays, ids = inputs(), np.arange(T) // 5

    def loss(q, k, v, ids):
        info = TokenInfo(ids, jnp.flip(jnp.arange(T)))
        out = SPEC(q, k, v, mask=Causal(), q_info=info, kv_info=info)
        return jnp.sin(out).sum(), out

    @jax.jit
    def both(*args):
        graded = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
        whole = graded(*args)
        with monkeypatch.context() as patch:
            patch.setattr(topk, "SCORES", 1)
            patch.setattr(topk, "CHUNK", chunk)
            return whole, graded(*args)

    ((_, expected), wanted), ((_, out), grads) = both(*arrays, ids)
    for a, b in zip((out, *grads), (expected, *wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_what_is_not_chosen_has_no_gradient_and_gives_nothing():
    q, k, v = inputs()
    kept = map_of(q, k, mask=Causal()) > 0
    t = T - 1
    left = ~kept[t]

    def loss(q, k, v):
        return jnp.sin(SPEC(q[t:], k, v, mask=FULL)).sum()

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    dq, dk, dv = jax.device_get(grad(q, k, v))
    assert (np.abs(dk).max(axis=1) > 0).tolist() == kept[t].tolist()
    assert (np.abs(dv).max(axis=1) > 0).tolist() == kept[t].tolist()
    bad = np.where(left[:, None], np.float32(np.nan), v)
    for a, b in zip((dq, dk, dv), grad(q, k, bad), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_hidden_reaches_a_query_even_as_inf_or_nan():
    q, k, v = inputs()

    def loss(k, v, q):
        out = SPEC(q[:6], k, v, mask=Causal())
        return jnp.sin(out).sum(), out

    graded = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, out), grads = graded(k, v, q)
    later = np.arange(T)[:, None] >= 6
    for junk in (np.nan, np.inf):
        bad = (np.where(later, np.float32(junk), x) for x in (k, v))
        (_, again), grads_again = graded(*bad, q)
        for a, b in zip((out, *grads), (again, *grads_again), strict=True):
            np.testing.assert_array_equal(a, b)


largest = jax.jit(positions_of_largest, static_argnums=1)


@pytest.mark.parametrize(("S", "k"), [(7, 3), (32, 32), (33, 5), (100, 64), (5, 9)])
@pytest.mark.parametrize("kind", ["apart", "ties", "few"])
def test_the_positions_found_are_those_of_a_stable_sort(S, k, kind):
    random = np.random.default_rng(S)
    x = random.normal(size=(9, S)).astype(np.float32)
    if kind == "ties":
        x = np.round(x)
    if kind == "few":
        x[:, random.permutation(S)[: S - 2]] = -np.inf
        x[0, 0] = np.nan
    order = np.argsort(-np.where(np.isnan(x), np.inf, x), axis=1, kind="stable")
    found = np.asarray(largest(x, k))
    for row, best, positions in zip(x, order[:, :k], found, strict=True):
        wanted = sorted(s for s in best if row[s] != -np.inf)
        padding = [ABSENT] * (min(k, S) - len(wanted))
        assert positions.tolist() == wanted + padding


def test_more_keys_than_there_are_is_softmax():
    q, k, v = inputs(T, 5)
    expected, _ = naive.softmax(q, k, v, np.full((T, 5), True))
    out = jax.jit(lambda *x: TopK(num_keys=9)(*x, mask=FULL))(q, k, v)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.exhaustive
def test_memory_grows_with_the_sequence_and_not_with_its_square():
    def scratch(T):
        x = jax.ShapeDtypeStruct((1, T, 1, 16), jnp.float32)
        run = partial(attend, TopK(num_keys=8), mask=Causal())
        grad = jax.grad(lambda *a: jnp.sin(run(*a)).sum(), argnums=(0, 1, 2))
        return jax.jit(grad).lower(x, x, x).compile().memory_analysis()

    with full_compiles():
        short, long = (scratch(T).temp_size_in_bytes for T in (2048, 8192))
    assert long < 4.5 * short
    assert long < 8192 * 8192 * 4 / 16
