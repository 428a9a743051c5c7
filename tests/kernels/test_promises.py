"""What a kernel declares is true, and what it does not declare is refused."""

from dataclasses import fields, replace
from functools import cache

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from promised import HV, H, T, base_mask, compiled, inputs
from tiny import exhaustive, paths

from attn.attention import attend, attend_with_lse, effective_map
from attn.attention.decode import begin
from attn.errors import UserError
from attn.kernels import CAPABILITIES, KERNELS
from attn.kernels.base import TRAITS
from attn.masks import FULL, Causal, Chunk
from attn.positions import Alibi

KNOBS = {
    (name, knob): case
    for name, oracle in naive.ORACLES.items()
    for knob, case in oracle.knobs.items()
}
"""Another good value of every knob, and values that must be refused."""
REQUESTS = set(CAPABILITIES) - TRAITS
"""What a call can ask for."""


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


@pytest.mark.parametrize("name", KERNELS)
def test_declarations_are_of_known_capabilities(name):
    assert KERNELS[name].can <= set(CAPABILITIES)
    assert KERNELS[name].name == name
    assert KERNELS[name].can & {"causal", "bidirectional"}


UNABLE = [
    (name, capability)
    for name in KERNELS
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
    with pytest.raises(UserError, match=f"kernel '{name}' cannot do 'decoding'"):
        begin(naive.SPECS[name], Causal(), 1, T, heads=(2, 2), widths=(H, HV))


ABLE = [
    (name, capability)
    for name in KERNELS
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


@pytest.mark.parametrize(
    ("name", "capability"),
    [case if case[0] in naive.PATHS else exhaustive(*case) for case in ABLE],
)
def test_what_a_kernel_can_do_changes_its_output(name, capability):
    plain, asked = (answers(name)[title] for title in (PLAIN, capability))
    assert np.isfinite(asked).all()
    assert np.abs(plain - asked).max() > 1e-3


def test_every_knob_has_a_case_here():
    knobs = {(name, f.name) for name in KERNELS for f in fields(KERNELS[name])}
    assert knobs == set(KNOBS)


@pytest.mark.parametrize(
    ("name", "knob"),
    [case if case[0] in naive.PATHS else exhaustive(*case) for case in KNOBS],
)
def test_every_knob_changes_the_output(name, knob):
    plain, other = (answers(name)[title] for title in (PLAIN, knob))
    assert np.abs(plain - other).max() > 1e-3


OF_SOFTMAX = {f.name for f in fields(KERNELS["softmax"])}


@pytest.mark.parametrize(
    ("name", "knob"),
    [(name, k) for name, k in KNOBS if name in naive.PATTERNS and k not in OF_SOFTMAX],
)
def test_every_knob_of_a_pattern_changes_what_is_seen(name, knob):
    spec = naive.SPECS[name]
    mask = base_mask(spec).get("mask", FULL)
    other = replace(spec, **{knob: KNOBS[name, knob][0]})
    seen, changed = (s.pattern(mask, T, T).dense(T) for s in (spec, other))
    assert (seen != changed).any()


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
def test_a_knob_larger_than_the_sequence_is_refused(name, knob):
    spec = naive.SPECS[name]
    spec.check_length(T)
    with pytest.raises(UserError, match=rf"{name}\.{knob} = {T + 1}"):
        replace(spec, **{knob: T + 1}).check_length(T)


LIMITS = [name for name, oracle in naive.ORACLES.items() if oracle.is_dense]


def masks_of(spec):
    both = ((FULL, "bidirectional"), (Causal(), "causal"))
    return [mask for mask, shape in both if shape in spec.can]


@pytest.mark.parametrize("name", [n for n in LIMITS if n in naive.PATTERNS])
def test_at_its_limit_a_pattern_hides_nothing(name):
    spec, _ = naive.ORACLES[name].is_dense(T, H)
    for mask in masks_of(spec):
        np.testing.assert_array_equal(spec.pattern(mask, T, T).dense(T), mask.dense(T))


@pytest.mark.parametrize("name", paths(LIMITS))
def test_at_its_limit_a_kernel_is_softmax(name):
    spec, own = jax.device_get(naive.ORACLES[name].is_dense(T, H))
    arrays, _ = inputs(naive.SPECS["softmax"])
    weights = jax.tree.map(lambda w: np.stack([w, w]), own) or None

    def run(arrays, weights):
        return [
            (
                attend(naive.SPECS["softmax"], *arrays, mask=mask),
                attend(spec, *arrays, mask=mask, weights=weights, impl=impl),
            )
            for mask in masks_of(spec)
            for impl in spec.implementations
            if (name, impl) != ("softmax", "dense")  # it is what others are held to
        ]

    for expected, out in compiled(run, arrays, weights):
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
