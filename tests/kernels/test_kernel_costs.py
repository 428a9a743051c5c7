"""What a kernel says it costs, against the compiler and against counted scores."""

import jax
import jax.numpy as jnp
import naive
import pytest
from tiny import exhaustive

from attn.kernels import KERNELS
from attn.masks import FULL, Causal

H, HV = 4, 3


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        (n, mask) if n in naive.PATHS else exhaustive(n, mask)
        for mask, shape in ((FULL, "bidirectional"), (Causal(), "causal"))
        for n in KERNELS
        if shape in KERNELS[n].can
    ],
    ids=str,
)
def test_flops_are_about_what_the_compiler_counts(name, mask):
    spec, T, H = KERNELS[name](), 256, 32
    q = jax.ShapeDtypeStruct((T, H), jnp.float32)
    weights = jax.eval_shape(lambda: spec.init(jax.random.key(0), head_dim=H, kv_len=T))
    # Of several forms, the one for long sequences.
    several = len(spec.implementations) > 1 and not spec.over_all_heads
    form = {"form": spec.implementations[-1]} if several else {}

    def run(q, k, v, weights):
        own = {"weights": weights} if weights else {}
        return spec(q, k, v, mask=mask, **own, **form)

    counted = jax.jit(run).lower(q, q, q, weights).compile().cost_analysis()["flops"]
    # The dense implementation computes the scores that a mask hides as well.
    whole = spec.flops(T, T, H, H, mask) / spec.pattern(mask, T, T).density(T)
    dense = "dense" in spec.implementations
    mine = whole if dense else spec.flops(T, T, H, H, mask)
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
    assert oracle.spec.state_size(S, 8, 4, Causal()) == oracle.state(S, 8, 4)
