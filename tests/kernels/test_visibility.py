"""What a query sees: nothing later, no padding, its own segment, by the positions given."""

from itertools import product

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from promised import T, base_mask, compiled, inputs
from tiny import paths

from attn.attention import attend
from attn.kernels import KERNELS
from attn.kernels.sparse.base import SparseSoftmax
from attn.masks import FULL, Causal, Chunk, Window


@pytest.mark.parametrize(
    "name", paths([n for n in KERNELS if "causal" in KERNELS[n].can])
)
def test_no_output_depends_on_a_later_key(name):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec, N=1)
    impls = spec.implementations
    seen = naive.visible(spec, T, T, causal=True)
    # A key that is seen alone has all the weight, whatever it is.
    several = seen & (seen.sum(axis=1, keepdims=True) > 1)

    def run(k, v, q, weights, impl):
        options = {"mask": Causal(), "weights": weights, "impl": impl}
        return attend(spec, q, k, v, **options)[0, :, 0]

    def jacobians(q, k, v, weights):
        by_kv = jax.jacrev(run, argnums=(0, 1))
        return [by_kv(k, v, q, weights, impl) for impl in impls]

    for jacobian in compiled(jacobians, *arrays, weights):
        both = zip("kv", jacobian, (several, seen), strict=True)
        for read, by_key, moves in both:
            by_key = np.abs(by_key[:, :, 0, :, 0]).max(axis=(1, 3))
            assert (by_key[np.triu_indices(T, 1)] == 0).all()
            if naive.ORACLES[name].reaches_all:
                assert (by_key[moves & (read in spec.reads)] > 0).all()
            assert (by_key > 0).any() == (read in spec.reads)


@pytest.mark.parametrize(
    "name", paths([n for n in KERNELS if "causal" in KERNELS[n].can])
)
def test_no_output_moves_with_later_tokens(name):
    """By values, for what is hashed, ranked or selected passes no gradient."""
    spec, T = naive.SPECS[name], 4 * 9
    arrays, weights = inputs(spec, T, T, N=1)
    random = np.random.default_rng(9)

    @jax.jit
    def run(arrays, weights):
        options = {"mask": Causal(), "weights": weights}
        return {
            impl: attend(spec, *arrays, impl=impl, **options)
            for impl in spec.implementations
        }

    outs = jax.device_get(run(arrays, weights))
    for cut, size in product((1, 5, 14, 23, 32, T - 1), (1.0, 10.0)):
        changed = [x.copy() for x in arrays]
        for x in changed:
            x[:, cut:] = random.normal(0, size, x[:, cut:].shape)
        for impl, again in jax.device_get(run(changed, weights)).items():
            out = outs[impl]
            np.testing.assert_array_equal(again[:, :cut], out[:, :cut], impl)
            assert (again[:, cut:] != out[:, cut:]).any()


@pytest.mark.parametrize(
    "name", [n for n in naive.PATHS if "packing" in KERNELS[n].can]
)
def test_a_query_sees_the_keys_of_its_own_segment(name):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec, N=1)
    ids, causal = np.array([[0, 0, 1, 1, 0, 2, 2, 2, 5]]), "causal" in spec.can
    own = ids[0][:, None] == ids
    seen = naive.visible(spec, T, T, causal) & own
    fixed = {n: np.float64(w[0]) for n, w in (weights or {}).items()}
    expected = naive.define(
        spec, *(np.float64(x[0, :, 0]) for x in arrays), seen, fixed
    )

    def run(arrays, ids, weights):
        options = {"mask": Causal() if causal else FULL, "weights": weights}
        options |= {"q_segment_ids": ids, "kv_segment_ids": ids}
        return [
            attend(spec, *arrays, impl=impl, **options)[0, :, 0]
            for impl in spec.implementations
        ]

    for out in compiled(run, arrays, ids, weights):
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "name", [n for n in naive.PATHS if {"positions", "causal"} <= KERNELS[n].can]
)
def test_tokens_out_of_order_are_masked_by_the_positions_they_are_given(name):
    spec = naive.SPECS[name]
    (q, k, v), weights = inputs(spec)
    of_q, of_k = [4, 0, 7, 2, 8, 5, 1, 3, 6], [1, 8, 3, 0, 6, 4, 2, 7, 5]
    of_q, of_k = np.array(of_q), np.array(of_k)
    positions = {"q_positions": of_q[None], "kv_positions": of_k[None]}

    def run(arrays, shuffled, positions, weights):
        options = {"mask": Causal(), "weights": weights}
        return [
            [
                attend(spec, *x, impl=impl, **options, **told)
                for x, told in ((arrays, {}), (shuffled, positions))
            ]
            for impl in spec.implementations
        ]

    shuffled = q[:, of_q], k[:, of_k], v[:, of_k]
    for expected, out in compiled(run, (q, k, v), shuffled, positions, weights):
        np.testing.assert_allclose(out, expected[:, of_q], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "name", [n for n in naive.PATHS if "key_padding" in KERNELS[n].can]
)
def test_padding_changes_neither_output_nor_gradient(name):
    spec, more = naive.SPECS[name], 4
    # What takes as many queries as keys is given padding among its queries too.
    cross = "cross" in spec.can
    (q, k, v), weights = inputs(spec, T if cross else T + more, T + more)
    junk = np.array([np.nan, np.inf, -np.inf, 1e30])[None, :, None, None]
    bad = [x.copy() for x in (k, v)]
    for x in bad:
        x[:, T:] = junk
    real = (np.arange(T + more) < T)[None]

    def loss(q, k, v, real, weights):
        options = base_mask(spec) | {"weights": weights}
        out = attend(spec, q, k, v, kv_mask=real, **options)
        return jnp.sin(out[:, :T]).sum(), out

    @jax.jit
    def graded(*args):
        (_, out), grads = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*args)
        return out, *grads

    found, again, none = (
        jax.device_get(graded(*args, weights))
        for args in ((q, k, v, real), (q, *bad, real), (q, k, v, np.zeros_like(real)))
    )
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((g[:, T:] == 0).all() for g in found[2:])
    assert all((x == 0).all() for x in none)
    if naive.ORACLES[name].length_free:
        seen = naive.visible(spec, T, T, causal=bool(base_mask(spec)))
        for n in range(q.shape[2]):
            kept = (np.float64(x[0, :T, n]) for x in (q, k, v))
            own = {name: np.float64(w[n]) for name, w in (weights or {}).items()}
            without = naive.define(spec, *kept, seen, own)
            np.testing.assert_allclose(
                found[0][0, :T, n], without, rtol=2e-5, atol=2e-5
            )


@pytest.mark.parametrize("name", ["softmax", *naive.PATTERNS])
@pytest.mark.parametrize("mask", [FULL, Causal()], ids=["full", "causal"])
def test_pattern_is_what_a_query_sees(name, mask):
    spec = naive.SPECS[name]
    for S in (T, T + 2) if "cross" in spec.can else (T,):
        seen = naive.visible(spec, T, S, mask == Causal())
        np.testing.assert_array_equal(spec.pattern(mask, T, S).dense(T, S), seen)


@pytest.mark.parametrize("name", naive.PATTERNS)
def test_a_mechanism_with_a_pattern_is_softmax_and_nothing_else(name):
    """So that what is asked of `window` alone holds for all."""
    classes = type(naive.SPECS[name]).mro()
    own = set().union(*map(vars, classes[: classes.index(SparseSoftmax)]))
    methods = {n for n in own if n == "__call__" or not n.startswith("__")}
    changed = {n for n in methods if hasattr(SparseSoftmax, n)}
    assert changed <= {"name", "can", "least", "shown", "check_length"}


def test_window_takes_other_masks_as_limits():
    spec = naive.SPECS["window"]
    assert spec.pattern(Chunk(4), T, T) == Chunk(4) & Window(1, 1)
    behind = Causal() & Chunk(4)
    assert spec.pattern(behind, T, T) == behind & Window(2, 0)


@pytest.mark.parametrize("mask", [FULL, Causal()], ids=str)
def test_padding_alone_hides_bad_keys_of_a_tile_and_real_ones_are_seen(mask):
    T, H, rng = 24, 4, np.random.default_rng(2)
    q, k, v = rng.standard_normal((3, 3, T, 2, H)).astype(np.float32)
    lengths = np.array([T, 9, 17])
    v[0, 5, 0, 1] = np.inf  # real, seen by every query without a mask
    v[1, 5, 1] = np.nan  # real
    k[1, 20], v[1, 20], v[2, 23] = np.nan, np.inf, np.nan  # padding
    spec = KERNELS["softmax"]()

    def run(q, k, v, lengths):
        options = {"mask": mask, "kv_lengths": lengths}
        return [
            attend(spec, q, k, v, impl=x, **options) for x in ("dense", "blockwise")
        ]

    expected, out = map(np.asarray, compiled(run, q, k, v, lengths))
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    assert np.isfinite(out[2]).all()
    bad = ~np.isfinite(out).all(axis=-1)
    rows = np.arange(T) >= (0 if mask == FULL else 5)
    assert (bad[0, :, 0] == rows).all()
    assert (bad[1, :, 1] == rows).all()
    assert not bad[0, :, 1].any()
    assert not bad[1, :, 0].any()
