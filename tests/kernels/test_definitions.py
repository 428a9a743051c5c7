"""Every kernel equals its slow definition in `tests/naive`."""

from functools import cache

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive, paths

from attn.kernels import KERNELS
from attn.kernels.lowrank import features
from attn.kernels.recurrent import base
from attn.kernels.scoring import Scoring
from attn.kernels.sparse import nsa, routed, topk
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal

T, S, H, HV = 9, 11, 4, 3
MASKS = {"bidirectional": FULL, "causal": Causal()}
CASES = [
    (name, shape) for name in KERNELS for shape in MASKS if shape in KERNELS[name].can
]


def ways(cases):
    """Cases of each way through the library; those of other masks are `exhaustive`.

    `test_visibility` has what each mask shows, and that nothing else is its own.
    """
    return [c if c[0] in naive.PATHS else exhaustive(*c) for c in cases]


def one_shape_each(cases):
    """Cases of which each mechanism is always asked one, its first."""
    first = {name: shape for name, shape in reversed(cases)}
    return [c if first[c[0]] == c[1] else exhaustive(*c) for c in cases]


PATHS = one_shape_each([c for c in CASES if c[0] in naive.PATHS])
VARIANTS = {
    f"{name}, {title}": spec
    for name, oracle in naive.ORACLES.items()
    for title, spec in oracle.variants.items()
}
"""Specs beside those of `naive.SPECS`, whose knobs change the definition."""
REAL = (np.arange(S) < S - 2) & (np.arange(S) != 3)
"""Padding at the end, and one token of it between others."""
SCALED = [n for n in naive.PATHS if "scale" in KERNELS[n].can]


@pytest.fixture
def small_parts(monkeypatch):
    """Whatever a mechanism computes part by part has several parts on short sequences."""
    for module in (features, base, nsa, topk):
        monkeypatch.setattr(module, "CHUNK", 32)
    monkeypatch.setattr(topk, "SCORES", 1)
    monkeypatch.setattr(routed, "GROUP", 1)


def inputs(spec, T=T, S=S):
    """q, k, v of one head and the kernel's own weights, in NumPy."""
    T = queries(spec, T, S)
    random = np.random.default_rng(3)
    shapes = {"q": (T, H), "k": (S, H), "v": (S, width(spec))}
    arrays = {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    return arrays, jax.device_get(naive.own_weights(spec, H, S))


def queries(spec, T=T, S=S):
    """How many, of a kernel that may be made for as many keys."""
    return T if "cross" in spec.can else S


def width(spec):
    """Of the values, which may have to be that of the keys."""
    return naive.value_width(spec, H, HV)


def call(spec, arrays, weights, **options):
    own = {"weights": weights} if weights else {}
    return spec(arrays["q"], arrays["k"], arrays["v"], **own, **options)


def definition(spec, mask, weights, T=T, S=S, real=None):
    """The slow kernel as a function of q, k, v and of what it may train."""
    T = queries(spec, T, S)
    seen = naive.visible(spec, T, S, mask == Causal(), real)
    fixed = {name: np.asarray(w, np.float64) for name, w in weights.items()}

    def run(q, k, v, **trained):
        return naive.define(spec, q, k, v, seen, fixed | trained)

    return run


def compiled(function, *arrays):
    """What one program makes of the arrays, in NumPy."""
    return jax.device_get(jax.jit(function)(*arrays))


def forms(spec):
    """The `form` of each of several ways to compute one head, from first to last."""
    several = len(spec.implementations) > 1 and not spec.over_all_heads
    return [{"form": f} for f in spec.implementations] if several else [{}]


def test_every_mechanism_has_a_definition():
    assert set(naive.ORACLES) == set(KERNELS)


def cotangent_of(spec):
    return np.random.default_rng(0).normal(size=(queries(spec), width(spec)))


def halves(arrays):
    return {n: x.astype(jnp.bfloat16) for n, x in arrays.items()}


def default_scale(name):
    return (H / naive.ORACLES[name].maps) ** -0.5


def larger(arrays):
    return arrays | {"q": arrays["q"] * np.float32(3)}


@cache
def computed(title, shape):
    """All that is asked of a spec under a mask, by one program.

    Of "padded" inputs the output and the gradients; of those in "bfloat16" the output;
    and by "scale", the factor of the scores, outputs of which the first two are equal.
    """
    spec, mask = (naive.SPECS | VARIANTS)[title], MASKS[shape]
    arrays, weights = inputs(spec)
    trained = weights if spec.owns == "weights" else {}
    cotangent = cotangent_of(spec).astype(np.float32)

    def loss(everything, weights):
        own = weights | {n: everything[n] for n in trained}
        info = TokenInfo(jnp.where(REAL, 0, -1))
        out = call(spec, everything, own, mask=mask, kv_info=info)
        return (out * cotangent).sum(), out

    def everything(arrays, weights, half, larger):
        graded = jax.value_and_grad(loss, has_aux=True)
        found = {"padded": graded(arrays | {n: weights[n] for n in trained}, weights)}
        if title in naive.PATHS:
            found["bfloat16"] = call(spec, half, weights, mask=mask)
        if title in SCALED and mask == FULL:

            def scaled(arrays, scale):
                scoring = Scoring(scale=scale)
                return call(spec, arrays, weights, mask=mask, scoring=scoring)

            found["scale"] = (
                scaled(arrays, 3 * default_scale(title)),
                scaled(larger, None),
                scaled(arrays, 0.1),
                scaled(arrays, 1.0),
            )
        return found

    return compiled(everything, arrays, weights, halves(arrays), larger(arrays))


@pytest.mark.parametrize(
    ("name", "shape"),
    ways(CASES)
    + one_shape_each(
        [
            (name, shape)
            for name, spec in VARIANTS.items()
            for shape in ("causal", "bidirectional")
            if shape in spec.can
        ]
    ),
)
def test_kernel_and_its_gradients_equal_the_definition(name, shape):
    spec, mask = (naive.SPECS | VARIANTS)[name], MASKS[shape]
    arrays, weights = inputs(spec)
    trained = weights if spec.owns == "weights" else {}
    (_, out), grads = computed(name, shape)["padded"]
    slow = definition(spec, mask, weights, real=REAL)
    everything = {n: np.asarray(x, np.float64) for n, x in (arrays | trained).items()}
    np.testing.assert_allclose(out, slow(**everything), rtol=2e-5, atol=2e-5)
    expected = naive.gradient(slow, everything, cotangent_of(spec))
    for leaf in everything:
        np.testing.assert_allclose(
            grads[leaf], expected[leaf], rtol=2e-4, atol=2e-4, err_msg=leaf
        )


@pytest.mark.parametrize(("name", "shape"), PATHS)
def test_float64_is_the_definition_to_its_last_digits(name, shape):
    with jax.enable_x64(True):
        spec, mask = naive.SPECS[name], MASKS[shape]
        arrays, weights = inputs(spec)
        arrays, weights = jax.tree.map(np.float64, (arrays, weights))
        out = compiled(lambda a, w: call(spec, a, w, mask=mask), arrays, weights)
        assert out.dtype == np.float64
        expected = definition(spec, mask, weights)(**arrays)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "shape"), PATHS)
def test_bfloat16_is_within_its_rounding_of_the_definition(name, shape):
    spec, mask = naive.SPECS[name], MASKS[shape]
    arrays, weights = inputs(spec)
    arrays, out = halves(arrays), computed(name, shape)["bfloat16"]
    assert out.dtype == jnp.bfloat16
    slow = definition(spec, mask, weights)
    expected = slow(**{n: np.asarray(x, np.float64) for n, x in arrays.items()})
    # Eight bits of fraction: 1/256 of the largest value, for each of a few roundings.
    bound = 4 / 256 * np.abs(np.asarray(arrays["v"], np.float64)).max()
    np.testing.assert_allclose(out.astype(np.float32), expected, atol=bound, rtol=0)


@pytest.mark.parametrize("name", paths(KERNELS))
def test_inputs_of_sixteen_bits_are_scored_and_summed_in_more(name):
    spec, T = naive.SPECS[name], 200
    mask = MASKS["causal" if "causal" in spec.can else "bidirectional"]
    arrays, weights = inputs(spec, T, T)
    # Large scores, and values that do not cancel: what 16 bits would lose.
    arrays = {"q": 4 * arrays["q"], "k": arrays["k"], "v": arrays["v"] + 1}
    arrays = halves(arrays)
    wide = {name: x.astype(np.float32) for name, x in arrays.items()}

    def both(wide, arrays, weights):
        exact = call(spec, wide, weights, mask=mask)
        return exact, [
            call(spec, arrays, weights, mask=mask, **form) for form in forms(spec)
        ]

    exact, outs = compiled(both, wide, arrays, weights)
    size = np.sqrt(max(np.square(x).mean() for x in (exact, wide["v"])))
    bound = 0.5 / 256 * naive.ORACLES[name].roundings * size
    for out in outs:
        error = np.float32(out) - exact
        assert np.sqrt(np.square(error).mean()) < bound


@pytest.mark.parametrize(
    ("name", "T", "S"),
    [
        (n, 130, 130) if n in naive.PATHS else exhaustive(n, 130, 130)
        for n, s in CASES
        if s == "causal"
    ]
    + [
        exhaustive(n, *lengths)
        for n, s in CASES
        if s == "causal" and "cross" in KERNELS[n].can
        for lengths in ((70, 100), (100, 70))
    ],
)
def test_long_sequences_equal_the_definition_part_by_part(name, T, S, small_parts):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec, T, S)
    form = forms(spec)[-1]
    out = compiled(
        lambda a, w: call(spec, a, w, mask=Causal(), **form), arrays, weights
    )
    slow = definition(spec, Causal(), weights, T, S)
    expected = slow(**{n: np.asarray(x, np.float64) for n, x in arrays.items()})
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCALED)
def test_scale_is_the_factor_of_the_scores(name):
    by_scale, by_query, small, large = computed(name, "bidirectional")["scale"]
    np.testing.assert_allclose(by_scale, by_query, rtol=1e-5, atol=1e-5)
    assert np.abs(small - large).max() > 1e-2


@pytest.mark.parametrize("name", [n for n in naive.PATHS if "lse" in KERNELS[n].can])
def test_bias_and_log_sum_exp_equal_the_definition(name):
    spec = naive.SPECS[name]
    arrays, _ = inputs(spec)
    shape = queries(spec), S
    bias = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    out, lse = compiled(
        lambda a, b: spec.with_lse(
            a["q"], a["k"], a["v"], mask=FULL, scoring=Scoring(bias=b)
        ),
        arrays,
        bias,
    )
    seen = naive.visible(spec, *shape, causal=False)
    expected = naive.softmax(*arrays.values(), seen, bias=bias)
    np.testing.assert_allclose(out, expected[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(lse, expected[1], rtol=2e-5, atol=2e-5)
