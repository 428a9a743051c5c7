"""What a kernel declares is true, and what it does not declare is refused."""

from dataclasses import fields, replace
from functools import cache
from itertools import combinations, product

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from attn.attention import attend, attend_with_lse, effective_map
from attn.errors import UserError
from attn.kernels import CAPABILITIES, KERNELS
from attn.kernels.base import TRAITS
from attn.masks import FULL, Causal, Chunk, Window
from attn.positions import Alibi

T, H, HV = 9, 4, 4

KNOBS = {
    (name, knob): case
    for name, oracle in naive.ORACLES.items()
    for knob, case in oracle.knobs.items()
}
"""Another good value of every knob, and values that must be refused."""
REQUESTS = set(CAPABILITIES) - TRAITS
"""What a call can ask for."""


def inputs(spec, T=T, S=T, N=2):
    """q, k, v [1, ., N, .] in NumPy and stacked weights, or None."""
    random = np.random.default_rng(8)
    shapes = ((1, T, N, H), (1, S, N, H), (1, S, N, HV))
    arrays = [random.normal(size=s).astype(np.float32) for s in shapes]
    return arrays, stacked(spec, S, N)


def compiled(function, *arrays):
    """What one program makes of the arrays, in NumPy."""
    return jax.device_get(jax.jit(function)(*arrays))


def stacked(spec, S, N=2):
    return naive.own_weights(spec, H, S, N) or None


def asks(capability, S=T):
    """The arguments of `attend` that need this capability; to be traced."""
    segments = jnp.zeros((1, T), jnp.int32), jnp.zeros((1, S), jnp.int32)
    return {
        "causal": {"mask": Causal()},
        "bidirectional": {"mask": FULL},
        "any_mask": {"mask": Chunk(3)},
        "key_padding": {"kv_mask": jnp.arange(S)[None] < S - 2},
        "packing": {"q_segment_ids": segments[0], "kv_segment_ids": segments[1] + 1},
        "positions": {"q_positions": 2 * jnp.arange(T)[None]},
        "bias": {"bias": jnp.ones((1, 1, T, S))},
        "relative_bias": {"bias": Alibi(jnp.ones(2))},
        "scale": {"scale": 2.0},
    }[capability]


def base_mask(spec):
    """A mask that the kernel takes."""
    return {} if "bidirectional" in spec.can else {"mask": Causal()}


@pytest.mark.parametrize("name", KERNELS)
def test_declarations_are_of_known_capabilities(name):
    assert KERNELS[name].can <= set(CAPABILITIES)
    assert KERNELS[name].name == name
    assert KERNELS[name].can & {"causal", "bidirectional"}


UNABLE = [
    (name, capability)
    for name in naive.PATHS
    for capability in sorted(REQUESTS - KERNELS[name].can - {"decoding"})
]


@pytest.mark.parametrize(("name", "capability"), UNABLE)
def test_what_a_kernel_cannot_do_is_refused_by_name_before_compiling(name, capability):
    spec = naive.SPECS[name]
    S = T + 2 if capability == "cross" else T
    arrays, weights = inputs(spec, S=S)
    arrays = arrays[:2] if capability == "map" else arrays

    def run(*arrays):
        options = {} if capability == "causal" else base_mask(spec)
        if capability == "map":
            return effective_map(spec, *arrays, weights=weights, **options)
        if capability == "lse":
            return attend_with_lse(spec, *arrays, weights=weights, **options)
        options |= {} if capability == "cross" else asks(capability)
        return attend(spec, *arrays, weights=weights, **options)

    with pytest.raises(UserError) as raised:
        jax.eval_shape(run, *arrays)
    assert f"kernel {name!r}" in str(raised.value)
    assert repr(capability) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name", [n for n in KERNELS if "decoding" not in KERNELS[n].can]
)
def test_a_kernel_that_does_not_decode_says_so(name):
    spec = naive.SPECS[name]
    with pytest.raises(UserError, match=f"kernel '{name}' cannot do 'decoding'"):
        spec.begin(H, HV)
    with pytest.raises(UserError, match=f"kernel '{name}' cannot do 'decoding'"):
        spec.step(None, *[jnp.asarray(np.ones(H, np.float32))] * 3)


@pytest.mark.parametrize("name", [n for n in KERNELS if "decoding" in KERNELS[n].can])
def test_token_by_token_is_the_whole_text_under_causal(name):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec, N=1)

    def both(arrays, weights):
        whole = attend(spec, *arrays, mask=Causal(), weights=weights)[0, :, 0]
        own = {"weights": jax.tree.map(lambda w: w[0], weights)} if weights else {}

        def step(state, token):
            return spec.step(state, *token, **own)

        tokens = [x[0, :, 0] for x in arrays]
        return whole, jax.lax.scan(step, spec.begin(H, HV), tokens)

    whole, (state, outs) = compiled(both, arrays, weights)
    assert sum(x.size for x in jax.tree.leaves(state)) == spec.state_size(T, H, HV)
    np.testing.assert_allclose(outs, whole, rtol=2e-5, atol=2e-5)


ABLE = [
    (name, capability)
    for name in naive.PATHS
    for capability in sorted(
        REQUESTS - {"causal", "bidirectional", "cross", "lse", "map", "decoding"}
    )
    if capability in KERNELS[name].can
]


PLAIN = "plain"


@cache
def answers(name):
    """What a kernel gives if nothing is asked, for each thing asked and for each knob."""
    spec, weights = naive.SPECS[name], {}
    specs = {PLAIN: spec} | {
        knob: replace(spec, **{knob: case[0]})
        for (of, knob), case in KNOBS.items()
        if of == name
    }
    for knob, other in specs.items():
        arrays, weights[knob] = inputs(other)
    able = [capability for of, capability in ABLE if of == name]
    titles = [*specs, *able]

    def everything(arrays, weights):
        outs = {
            knob: attend(other, *arrays, weights=weights[knob], **base_mask(other))
            for knob, other in specs.items()
        }
        for capability in able:
            options = base_mask(spec) | asks(capability)
            if capability == "positions":
                options |= {"mask": Causal()}
            if capability == "bias":
                options["bias"] = jnp.cos(jnp.arange(T * T)).reshape(1, 1, T, T)
            outs[capability] = attend(spec, *arrays, weights=weights[PLAIN], **options)
        return [outs[title] for title in titles]

    return dict(zip(titles, compiled(everything, arrays, weights), strict=True))


@pytest.mark.parametrize(("name", "capability"), ABLE)
def test_what_a_kernel_can_do_changes_its_output(name, capability):
    plain, asked = (answers(name)[title] for title in (PLAIN, capability))
    assert np.isfinite(asked).all()
    assert np.abs(plain - asked).max() > 1e-3


@pytest.mark.parametrize("name", [n for n in KERNELS if "causal" in KERNELS[n].can])
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


@pytest.mark.parametrize("name", [n for n in KERNELS if "causal" in KERNELS[n].can])
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
        kept = [x[:, :T] for x in (q, k, v)]
        without = compiled(
            lambda *a: attend(spec, *a[:3], weights=a[3], **base_mask(spec)),
            *kept,
            weights,
        )
        np.testing.assert_allclose(found[0][:, :T], without, rtol=1e-5, atol=1e-6)


def test_every_knob_has_a_case_here():
    knobs = {(name, f.name) for name in KERNELS for f in fields(KERNELS[name])}
    assert knobs == set(KNOBS)


@pytest.mark.parametrize(("name", "knob"), KNOBS)
def test_every_knob_changes_the_output(name, knob):
    plain, other = (answers(name)[title] for title in (PLAIN, knob))
    assert np.abs(plain - other).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "knob", "bad"), [(*case, bad) for case in KNOBS for bad in KNOBS[case][1]]
)
def test_a_knob_out_of_range_is_refused_by_name(name, knob, bad):
    with pytest.raises(UserError, match=rf"{name}\.{knob} = {bad}; it must be"):
        replace(naive.SPECS[name], **{knob: bad})


@pytest.mark.parametrize(
    ("name", "knob"),
    [(name, knob) for name, o in naive.ORACLES.items() for knob in o.too_large],
)
def test_a_knob_larger_than_the_text_is_refused(name, knob):
    spec = naive.SPECS[name]
    spec.check_length(T)
    with pytest.raises(UserError, match=rf"{name}\.{knob} = {T + 1}"):
        replace(spec, **{knob: T + 1}).check_length(T)


@pytest.mark.parametrize("name", ["softmax", *naive.PATTERNS])
@pytest.mark.parametrize("mask", [FULL, Causal()], ids=["full", "causal"])
def test_pattern_is_what_a_query_sees(name, mask):
    spec = naive.SPECS[name]
    seen = naive.visible(spec, T, T, mask == Causal())
    np.testing.assert_array_equal(spec.pattern(mask, T, T).dense(T), seen)


@pytest.mark.parametrize(
    "name", [name for name, oracle in naive.ORACLES.items() if oracle.is_dense]
)
def test_at_its_limit_a_kernel_is_softmax(name):
    spec, own = jax.device_get(naive.ORACLES[name].is_dense(T, H))
    arrays, _ = inputs(naive.SPECS["softmax"])
    weights = jax.tree.map(lambda w: np.stack([w, w]), own) or None
    masks = [
        mask
        for mask, shape in ((FULL, "bidirectional"), (Causal(), "causal"))
        if shape in spec.can
    ]

    def run(arrays, weights):
        return [
            (
                attend(naive.SPECS["softmax"], *arrays, mask=mask),
                attend(spec, *arrays, mask=mask, weights=weights, impl=impl),
            )
            for mask in masks
            for impl in spec.implementations
        ]

    for expected, out in compiled(run, arrays, weights):
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_window_takes_other_masks_as_limits():
    spec = naive.SPECS["window"]
    assert spec.pattern(Chunk(4), T, T) == Chunk(4) & Window(1, 1)
    behind = Causal() & Chunk(4)
    assert spec.pattern(behind, T, T) == behind & Window(2, 0)


@pytest.mark.parametrize("name", KERNELS)
def test_weights_are_as_many_as_declared_and_are_drawn_apart(name):
    spec = naive.SPECS[name]
    sizes = {"head_dim": H, "kv_len": T}

    def drawn():
        keys = [jax.random.key(seed) for seed in (0, 1)]
        return *(spec.init(key, **sizes) for key in keys), spec.init_heads(
            keys[0], 2, **sizes
        )

    a, b, heads = compiled(drawn)
    trained = a if spec.owns == "weights" else {}
    assert sum(w.size for w in trained.values()) == spec.num_weights(H, T)
    assert bool(a) == (spec.owns != "nothing")
    if a:
        differ = any(not np.array_equal(a[leaf], b[leaf]) for leaf in a)
        assert differ == naive.ORACLES[name].drawn
        assert any(not np.array_equal(*w) for w in heads.values())
    random = [np.ravel(w) for w in a.values() if w.std() > 0]
    for x, y in combinations(random, 2):
        # What is drawn by one key begins alike, whatever its shape and its size.
        n = min(x.size, y.size)
        assert n < 3 or np.corrcoef(x[:n], y[:n])[0, 1] < 0.999


@pytest.mark.parametrize(
    "name", [n for n in KERNELS if naive.SPECS[n].owns != "nothing"]
)
def test_every_head_computes_with_its_own_weights(name):
    spec = naive.SPECS[name]
    (q, k, v), weights = inputs(spec)
    same = [np.repeat(x[:, :, :1], 2, axis=2) for x in (q, k, v)]
    run = jax.jit(lambda a, w: attend(spec, *a, weights=w, **base_mask(spec)))
    weights = jax.device_get(weights)
    out, flipped = (
        jax.device_get(run(same, {n: w[::step] for n, w in weights.items()}))
        for step in (1, -1)
    )
    assert np.abs(out[:, :, 0] - out[:, :, 1]).max() > 1e-3
    np.testing.assert_allclose(flipped, out[:, :, ::-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", [n for n in KERNELS if naive.SPECS[n].owns != "nothing"]
)
def test_weights_are_asked_for_and_refused_where_none_are_owned(name):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec)
    with pytest.raises(UserError, match="weights were not given"):
        jax.eval_shape(lambda *a: attend(spec, *a, **base_mask(spec)), *arrays)
    with pytest.raises(UserError, match="owns nothing, and weights were given"):
        jax.eval_shape(
            lambda *a: attend(naive.SPECS["softmax"], *a, weights=weights), *arrays
        )


def test_linformer_refuses_a_text_longer_than_it_was_made_for():
    spec = naive.SPECS["linformer"]
    arrays, _ = inputs(spec, S=T + 1)
    with pytest.raises(UserError, match=f"kv_len = {T + 1}"):
        jax.eval_shape(lambda *a: attend(spec, *a, weights=stacked(spec, T)), *arrays)
