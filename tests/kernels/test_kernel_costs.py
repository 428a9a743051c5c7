"""What a kernel says it costs, against the compiler and against counted scores."""

import jax
import jax.numpy as jnp
import naive
import pytest

from attn.attention import attend
from attn.kernels import KERNELS
from attn.masks import FULL, Causal

H, HV = 4, 3


@pytest.mark.parametrize(
    ("name", "mask"),
    [(n, FULL) for n in KERNELS if "bidirectional" in KERNELS[n].can]
    + [(n, Causal()) for n in KERNELS if "causal" in KERNELS[n].can],
    ids=str,
)
def test_flops_are_about_what_the_compiler_counts(name, mask):
    spec, T, H = KERNELS[name](), 256, 32
    q = jax.ShapeDtypeStruct((T, H), jnp.float32)
    weights = jax.eval_shape(lambda: spec.init(jax.random.key(0), head_dim=H, kv_len=T))

    forms = spec.implementations
    # Of several forms, the one that long texts take.
    form = {"form": forms[-1]} if len(forms) > 1 and not spec.lifted else {}

    def run(q, k, v, weights):
        own = {"weights": weights} if weights else {}
        return spec(q, k, v, mask=mask, **own, **form)

    counted = jax.jit(run).lower(q, q, q, weights).compile().cost_analysis()["flops"]
    # The dense implementation computes the scores that a mask hides as well.
    whole = spec.flops(T, T, H, H, mask) / spec.pattern(mask, T, T).density(T)
    exact = "exact" in spec.can
    mine = whole if exact else spec.flops(T, T, H, H, mask)
    assert 0.9 * mine < counted < 1.5 * mine


def test_masked_flops_follow_the_density():
    for name in ("softmax", *naive.PATTERNS):
        spec = naive.SPECS[name]
        pairs = naive.visible(spec, 32, 32, causal=True).sum()
        assert spec.flops(32, 32, 8, 4, Causal()) == pytest.approx(2 * pairs * 12)


@pytest.mark.parametrize("S", [63, 64, 126])
@pytest.mark.parametrize("name", KERNELS)
def test_state_is_what_its_paper_keeps(name, S):
    oracle = naive.ORACLES[name]
    assert oracle.spec.state_size(S, 8, 4) == oracle.state(S, 8, 4)


@pytest.mark.parametrize("name", KERNELS)
def test_scratch_is_within_a_factor_of_two_of_what_the_compiler_takes(name):
    spec, T, H = KERNELS[name](), 2048, 32
    mask = Causal() if "causal" in spec.can else FULL
    q = jax.ShapeDtypeStruct((1, T, 1, H), jnp.float32)
    weights = jax.eval_shape(
        lambda: spec.init_heads(jax.random.key(0), 1, head_dim=H, kv_len=T)
    )
    impl = spec.implementations[-1]

    def run(q, k, v, weights):
        return attend(spec, q, k, v, mask=mask, weights=weights or None, impl=impl)

    compiled = jax.jit(run).lower(q, q, q, weights).compile()
    numbers = compiled.memory_analysis().temp_size_in_bytes / 4
    assert 0.5 * numbers <= spec.scratch_size(T, T, H, H, mask) <= 2 * numbers
