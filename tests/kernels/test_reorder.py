"""Masks with tokens reordered: every pair once, the same attention, and only where it is cheaper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from masks.mask_definitions import EXAMPLES, cases
from meshes import KINDS, collectives, make, placed
from tiny import exhaustive, full_compiles

from attn.attention import attend_with_lse
from attn.attention import tiles as over_heads
from attn.kernels import Softmax
from attn.kernels.blockwise.reorder import choose_reorderings, reorderings
from attn.kernels.blockwise.reordered import Reordering
from attn.masks import FULL, Causal, Fixed, Global, Prefix, Strided, Window

SCATTERED = {
    "strided": Causal() & (Window(3, 0) | Strided(4)),
    "strided both ways": Window(2, 2) | Strided(5),
    "fixed": Causal() & Fixed(4, 2),
    "fixed both ways": Fixed(5, 2),
    "first tokens": Global(3) | Window(2, 2),
    "first tokens, causal": Causal() & (Global(3) | Window(4, 0)),
    "sinks": Causal() & (Prefix(2) | Window(3, 0)),
}
B, T, N, K, H = 2, 22, 4, 2, 4


def times_shown(parts, T, S):
    """How many of the parts show each pair."""
    shown = np.zeros((T + 1, S + 1), int)
    for part in parts:
        # Token 0 is none: what a block lacks.
        q = np.asarray(part.queries(jnp.arange(1, T + 1)[None]))
        k = np.asarray(part.keys(jnp.arange(1, S + 1)[None]))
        own = part.mask.dense(*part.lengths(T, S))
        assert len(q) == len(k) == part.groups(T)
        assert own.shape == (q.shape[1], k.shape[1])
        for rows, columns in zip(q, k, strict=True):
            np.add.at(shown, np.ix_(rows, columns), own)
    return shown[1:, 1:]


ONE_OF_EACH = ("strided", "fixed both ways", "first tokens, causal", "sinks")


@pytest.mark.parametrize("name", SCATTERED)
def test_a_scattered_mask_is_put_in_another_order(name):
    parts = reorderings(SCATTERED[name], T, T)
    assert len(parts) > 1
    np.testing.assert_array_equal(times_shown(parts, T, T), SCATTERED[name].dense(T))


@pytest.mark.parametrize("mask", EXAMPLES, ids=str)
def test_parts_of_one_of_each_pattern_show_every_pair_once(mask):
    np.testing.assert_array_equal(times_shown(reorderings(mask, 12, 12), 12, 12), mask.dense(12))  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(cases(most=12))
def test_parts_of_any_mask_show_every_pair_once(case):
    mask, T, S = case
    parts = reorderings(mask, T, S)
    assert parts[0].rows is None
    np.testing.assert_array_equal(times_shown(parts, T, S), mask.dense(T, S))


def test_the_first_part_holds_every_query():
    first = Global(2) & ~Prefix(2)
    mask = first | (Global(3) & ~Prefix(3))
    assert reorderings(mask, T, T) == (Reordering(mask),)
    assert reorderings(first, T, T) == (Reordering(first),)


def call(mask, spec):
    """Outputs, and gradients of all that moves, of both implementations."""
    random = np.random.default_rng(3)

    def draw(*shape):
        return random.normal(size=shape).astype(np.float32)

    moving = draw(B, T, N, H), draw(B, T, K, H), draw(B, T, K, 3), draw(N)
    real = np.arange(T)[None] < np.array([[T - 4], [T]])
    ids = random.integers(0, 2, (B, 1)) + np.arange(T)[None] // 9

    def loss(moving, real, ids, impl):
        q, k, v, sink = moving
        weights = {"sink": sink} if spec.sinks else None
        info = {"kv_mask": real, "q_segment_ids": ids, "kv_segment_ids": ids}
        out, lse = attend_with_lse(
            spec, q, k, v, mask=mask, weights=weights, impl=impl, **info
        )
        finite = jnp.where(jnp.isfinite(lse), lse, 0.0)
        return jnp.sin(out).sum() + jnp.sin(finite).sum(), (out, lse)

    def both(*args):
        grad = jax.value_and_grad(loss, has_aux=True)
        found = [grad(*args, impl) for impl in ("blockwise", "dense")]
        return [(out, grads) for (_, out), grads in found]

    return jax.device_get(jax.jit(both)(moving, real, ids))


@pytest.fixture
def in_parts(monkeypatch):
    """Every mask in parts, whatever that costs."""
    monkeypatch.setattr(over_heads, "choose_reorderings", reorderings)


CAPPED = Softmax(softcap=2.0, sinks=True)


@pytest.mark.parametrize(
    ("name", "spec"),
    [(n, CAPPED) if n in ONE_OF_EACH else exhaustive(n, CAPPED) for n in SCATTERED]
    + [("strided", Softmax())]
    + [exhaustive(name, Softmax()) for name in SCATTERED if name != "strided"],
    ids=str,
)
def test_attention_in_parts_is_attention(name, spec, in_parts):
    for a, b in zip(*map(jax.tree.leaves, call(SCATTERED[name], spec)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "name", [n if n in ONE_OF_EACH else exhaustive(n) for n in SCATTERED]
)
def test_a_value_that_is_not_finite_reaches_who_sees_it_and_no_gradient_beside(
    name, in_parts
):
    mask, at = SCATTERED[name], 9
    sees = mask.dense(T)[:, at]
    random = np.random.default_rng(1)
    q, k, v = (random.normal(size=(1, T, 1, H)).astype("float32") for _ in "qkv")

    def loss(q, k, v):
        out, _ = attend_with_lse(Softmax(), q, k, v, mask=mask, impl="blockwise")
        return jnp.sin(jnp.where(sees[None, :, None, None], 0, out)).sum(), out

    grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    for bad in (np.inf, np.nan):
        v[:, at] = bad
        (_, out), grads = jax.device_get(grad(q, k, v))
        np.testing.assert_array_equal(~np.isfinite(out[0, :, 0]).all(axis=-1), sees)
        assert all(np.isfinite(x).all() for x in grads)


def test_parts_are_taken_where_they_are_cheaper():
    strided = Causal() & (Window(31, 0) | Strided(32))
    assert len(choose_reorderings(strided, 2048, 2048)) == 2
    assert choose_reorderings(strided, 40, 40) == (Reordering(strided),)
    for mask in (FULL, Causal(), Causal() & Window(255, 0)):
        assert choose_reorderings(mask, 2048, 2048) == (Reordering(mask),)


def test_a_union_of_many_is_left_in_one_part():
    many = FULL
    for n in range(2, 40):
        many = many & (Strided(n) | Window(n, n))
    assert reorderings(many, T, T) == (Reordering(many),)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_need_no_communication(kind, in_parts):
    mask = SCATTERED["strided"]

    def run(moving, still):
        out, lse = attend_with_lse(Softmax(), **moving, **still, mask=mask, impl="blockwise")  # fmt: skip
        return out, lse

    random = np.random.default_rng(6)
    shapes = {"q": (8, T, 8, H), "k": (8, T, 8, H), "v": (8, T, 8, 3)}
    arrays = {n: jnp.asarray(random.normal(size=s), "float32") for n, s in shapes.items()}  # fmt: skip
    expected = jax.jit(run)(arrays, {})
    with jax.set_mesh(make((2, 4), kind)), full_compiles():
        sharded = placed(arrays, {})
        compiled = jax.jit(run).lower(*sharded).compile()
        found = compiled(*sharded)
    assert collectives(compiled) == []
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
