"""Attention to chosen blocks equals dense attention under the mask of what is chosen."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive, full_compiles

from attn.kernels.sparse.order import inverse, stable_order
from attn.kernels.sparse.routed import make_tiles, routed_attention
from attn.masks import FULL, Causal, Window

T, S, H, HV, BLOCK = 37, 50, 4, 3, 6
M = -(-S // BLOCK)


def uneven(random):
    """Every query chooses block 2 and nothing else."""
    return np.where(np.arange(3) == 0, 2, -1) + np.zeros((T, 1), int)


def mixed(random):
    """Different blocks, some of them none."""
    chosen = np.stack([random.permutation(M)[:3] for _ in range(T)])
    return np.where(random.random((T, 3)) < 0.2, -1, chosen)


def every(random):
    return np.stack([random.permutation(M) for _ in range(T)])


LOADS = {"uneven": uneven, "mixed": mixed, "every": every}


def case(load):
    random = np.random.default_rng(5)
    shapes = ((T, H), (S, H), (S, HV))
    arrays = [jnp.asarray(random.normal(size=s), jnp.float32) for s in shapes]
    return arrays, LOADS[load](random)


def shown(chosen, mask, real):
    """Bool [T, S] of the chosen blocks, one pair at a time."""
    seen = np.zeros((len(chosen), len(real)), bool)
    for t, s in np.ndindex(seen.shape):
        seen[t, s] = s // BLOCK in chosen[t] and real[s] and mask.predicate(t, s)
    return seen


@pytest.mark.parametrize(
    ("load", "mask"),
    [
        (load, mask) if i == j else exhaustive(load, mask)
        for i, load in enumerate(LOADS)
        for j, mask in enumerate((FULL, Causal(), Window(9, 4)))
    ],
    ids=str,
)
def test_values_and_gradients_equal_softmax_over_the_chosen_blocks(load, mask):
    arrays, chosen = case(load)
    real = np.arange(S) % 7 != 3
    ids = jnp.where(real, 0, -1)
    seen = shown(chosen, mask, real)

    def routed(q, k, v):
        options = {"block": BLOCK, "mask": mask, "scale": 0.7, "kv_ids": ids}
        return routed_attention(q, k, v, jnp.asarray(chosen), **options)

    def dense(q, k, v):
        scores = jnp.where(seen, 0.7 * q @ k.T, -1e30)
        blind = ~seen.any(axis=1)
        weights = jnp.where(seen, jax.nn.softmax(scores, axis=1), 0.0)
        lse = jax.nn.logsumexp(scores, axis=1)
        return weights @ v, jnp.where(blind, -jnp.inf, lse)

    def loss(run):
        def of(*arrays):
            out, lse = run(*arrays)
            return jnp.sin(out).sum() + jnp.cos(jnp.where(lse > -1e9, lse, 0.0)).sum()

        return jax.grad(of, argnums=(0, 1, 2))

    def everything(*arrays):
        return routed(*arrays), loss(routed)(*arrays), loss(dense)(*arrays)

    (out, lse), grads, expected_grads = jax.jit(everything)(*arrays)
    expected = naive.softmax(*arrays, seen, scale=0.7)
    np.testing.assert_allclose(out, expected[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(lse, expected[1], rtol=2e-5, atol=2e-5)
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_junk_reaches_only_the_queries_that_see_it():
    (q, k, v), chosen = case("mixed")
    v = v.at[20, 1].set(jnp.inf).at[31].set(jnp.nan)
    ids = jnp.where(jnp.arange(S) == 31, -1, 0)
    seen = shown(chosen, Causal(), np.arange(S) != 31)
    out, _ = jax.jit(
        lambda *a: routed_attention(*a, block=BLOCK, mask=Causal(), kv_ids=ids)
    )(q, k, v, jnp.asarray(chosen))
    np.testing.assert_array_equal(~np.isfinite(out).all(axis=1), seen[:, 20])
    assert seen[:, 20].any()


@pytest.mark.parametrize("load", LOADS)
def test_every_pick_has_one_place_in_a_tile_of_its_block(load):
    chosen = case(load)[1]
    tiles = jax.device_get(jax.jit(lambda c: make_tiles(c, S, BLOCK))(chosen))
    queries, filled = tiles.query.reshape(-1), tiles.filled.reshape(-1)
    blocks = np.repeat(tiles.block.reshape(-1), tiles.query.shape[-1])
    assert filled.sum() == (chosen >= 0).sum()
    for t, j in np.ndindex(chosen.shape):
        slot = int(tiles.pick_index[t, j])
        if chosen[t, j] < 0:
            assert slot == -1
        else:
            assert filled[slot]
            assert (queries[slot], blocks[slot]) == (t, chosen[t, j])


def compiled(T):
    """Forward and gradient over four blocks of 32 each."""
    x = jax.ShapeDtypeStruct((T, 32), jnp.float32)
    chosen = jax.ShapeDtypeStruct((T, 4), jnp.int32)

    def loss(q, k, v, chosen):
        return routed_attention(q, k, v, chosen, block=32, mask=Causal())[0].sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x, chosen).compile()


def test_scratch_grows_as_the_sequence():
    with full_compiles():
        short, long = (
            compiled(T).memory_analysis().temp_size_in_bytes for T in (2048, 8192)
        )
    assert long < 5 * short
    assert long < 8192 * 8192


@pytest.mark.parametrize("bound", [1, 5, 2**31 - 1])
def test_small_integers_are_sorted_as_numpy_sorts_them(bound):
    numbers = np.random.default_rng(0).integers(0, bound, 999, np.int32)
    order = stable_order(jnp.asarray(numbers), bound)
    np.testing.assert_array_equal(order, np.argsort(numbers, kind="stable"))
    np.testing.assert_array_equal(np.asarray(inverse(order))[order], np.arange(999))
