"""What tiles do with values that are hidden, huge, missing or rounded, and under transforms."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiled import (
    Call,
    everything,
    exactly,
    tiles,
)

from attn.kernels.blockwise import blockwise_attention
from attn.kernels.dense import dense_attention
from attn.kernels.tokens import NO_KEY, TokenInfo
from attn.masks import (
    FULL,
    Causal,
    Window,
)

SEGMENTS, REAL = np.repeat(np.arange(3), 4), np.arange(12) < 8
HIDE = {
    "the mask": (Causal(), Causal().dense(12), None, None),
    "segments": (FULL, SEGMENTS[:, None] == SEGMENTS, SEGMENTS, SEGMENTS),
    "padding": (FULL, REAL[None] & np.full((12, 1), True), 0 * SEGMENTS, np.where(REAL, 0, NO_KEY)),
}  # fmt: skip
"""The mask, what is seen, and the segments of queries and keys."""
SPOILED = 9


@cache
def hidden(hidden_by):
    """q, k, v, and a program for outputs and gradients of each implementation."""
    mask, seen, *ids = HIDE[hidden_by]
    random = np.random.default_rng(1)
    arrays = [random.normal(size=(12, 4)).astype(np.float32) for _ in range(3)]
    counted = ~seen[:, SPOILED, None] & np.full((12, 4), True)

    def by_definition(q, k, v):
        own = [None if x is None else jnp.asarray(x) for x in ids]
        infos = dict(zip(("q_info", "kv_info"), map(TokenInfo, own)))
        return dense_attention(q, k, v, mask=mask, **infos)[0]

    def by_tiles(q, k, v):
        all_ids = [None if x is None else jnp.asarray(x)[None] for x in ids]
        infos = dict(zip(("q_info", "kv_info"), map(TokenInfo, all_ids)))
        arrays = (x[None, :, None] for x in (q, k, v))
        out, _ = blockwise_attention(*arrays, mask=mask, blocks=(4, 4), **infos)
        return out[0, :, 0]

    @jax.jit
    def graded(*arrays):
        found = {}
        for kind, run in (("tiles", by_tiles), ("definition", by_definition)):
            out, pull = jax.vjp(run, *arrays)
            # Only queries that do not see it count.
            found[kind] = out, pull(counted.astype(out.dtype))
        return found

    return arrays, lambda *arrays: jax.device_get(graded(*arrays))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["tiles", "definition"])
@pytest.mark.parametrize("hidden_by", HIDE)
def test_a_hidden_value_that_is_not_finite_reaches_nobody(hidden_by, kind, bad):
    (q, k, v), graded = hidden(hidden_by)
    safe = ~HIDE[hidden_by][1][:, SPOILED]
    assert safe.any()
    changed = v.copy()
    changed[SPOILED] = bad
    clean, dirty = (graded(q, k, x)[kind] for x in (v, changed))
    np.testing.assert_array_equal(dirty[0][safe], clean[0][safe])
    if hidden_by != "padding":
        assert not np.isfinite(dirty[0][~safe]).any()
    for a, b in zip(dirty[1], clean[1]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mask", [~FULL, Causal(-5)], ids=["none", "blind rows"])
def test_a_row_that_sees_nothing_is_zero_with_zero_gradient(mask):
    call = Call(T=12, S=12, mask=mask, dtype="float32")
    (got,) = everything(call, tiles)
    blind, unseen = ~mask.dense(12).any(axis=1), ~mask.dense(12).any(axis=0)
    assert (got["out"][:, blind] == 0).all()
    assert (got["lse"][:, blind] == -np.inf).all()
    assert np.isfinite(got["lse"][:, ~blind]).all()
    assert (got["d_q"][:, blind] == 0).all()
    assert (got["d_k"][:, unseen] == 0).all()
    assert (got["d_v"][:, unseen] == 0).all()
    assert not any(np.isnan(x).any() for x in got.values())


def test_extreme_scores_neither_overflow_nor_lose_the_largest():
    call = Call(mask=Causal(), size=1e4, dtype="float32")
    (got,) = everything(call, tiles)
    out, lse = exactly(call)
    assert np.abs(lse).max() > 1e4
    # float32 holds a score of 1e4 to 1e-3, so weights agree to about that.
    np.testing.assert_allclose(got["out"], out, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(got["lse"], lse, rtol=1e-5, atol=1e-2)
    assert all(np.isfinite(x).all() for x in got.values())


def test_bfloat16_tiles_equal_the_definition_within_their_rounding():
    call = Call(mask=Causal(), dtype="bfloat16", asked=("alibi",))
    (got,), expected = everything(call, tiles), exactly(call)
    np.testing.assert_allclose(got["out"], expected[0], rtol=2e-2, atol=2e-2)
    # Scores, their maximum and their sum are float32 whatever the inputs are.
    np.testing.assert_allclose(got["lse"], expected[1], rtol=1e-5, atol=1e-5)


def test_the_transforms_of_jax_change_nothing():
    call = Call(mask=Causal() & Window(5, 0), dtype="float32", Hv=4)
    (q, k, v, *_), _ = call.inputs()
    run = partial(blockwise_attention, mask=call.mask, blocks=call.blocks)

    def summed(*arrays):
        return jnp.sin(run(*arrays)[0]).sum()

    twice = [np.stack([x, x + np.float32(1)]) for x in map(np.asarray, (q, k, v))]

    @jax.jit
    def all_at_once(q, k, v, twice):
        grad = jax.grad(summed, argnums=(0, 1, 2))
        again = jax.grad(jax.checkpoint(summed), argnums=(0, 1, 2))
        mapped = jax.vmap(grad)(*twice)
        _, scanned = jax.lax.scan(lambda c, x: (c, grad(*x)), 0, tuple(twice))
        return grad(q, k, v), again(q, k, v), mapped, scanned

    plain, again, mapped, scanned = jax.device_get(all_at_once(q, k, v, twice))
    for a, b, c, d in zip(plain, again, mapped, scanned):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(a, c[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(a, d[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(c[1], d[1], rtol=1e-5, atol=1e-5)


def test_outputs_over_disjoint_keys_merge_by_their_log_sum_exps():
    (q, k, v, *_), _ = Call(dtype="float32").inputs()

    @jax.jit
    def both(q, k, v):
        run = partial(blockwise_attention, mask=FULL, blocks=(4, 4))
        parts = [run(q, k[:, s], v[:, s]) for s in (slice(0, 4), slice(4, 11))]
        shares = jax.nn.softmax(jnp.stack([lse for _, lse in parts]), axis=0)
        merged = sum(s[..., None] * out for s, (out, _) in zip(shares, parts))
        return run(q, k, v)[0], merged

    whole, merged = both(q, k, v)
    np.testing.assert_allclose(merged, whole, rtol=1e-5, atol=1e-5)
