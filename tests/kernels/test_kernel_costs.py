"""What a kernel says it costs, against the compiler and against counted scores."""

import jax
import jax.numpy as jnp
import naive
import pytest

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

    def run(q, k, v, weights):
        return spec(q, k, v, mask=mask, **({"weights": weights} if weights else {}))

    counted = jax.jit(run).lower(q, q, q, weights).compile().cost_analysis()["flops"]
    # The dense implementation computes the scores that a mask hides as well.
    whole = spec.flops(T, T, H, H, mask) / spec.pattern(mask, T, T).density(T)
    mine = whole if spec.family != "lowrank" else spec.flops(T, T, H, H, mask)
    assert 0.9 * mine < counted < 1.5 * mine


def test_masked_flops_follow_the_density():
    for name in ("softmax", *naive.PATTERNS):
        spec = naive.SPECS[name]
        pairs = naive.visible(spec, 32, 32, causal=True).sum()
        assert spec.flops(32, 32, 8, 4, Causal()) == pytest.approx(2 * pairs * 12)


@pytest.mark.parametrize("name", KERNELS)
def test_state_grows_with_the_text_where_a_later_query_may_see_all_of_it(name):
    spec = naive.SPECS[name]
    short, long = (spec.state_size(S, H, HV) for S in (63, 126))
    grows = name in ("softmax", "strided", "bigbird")
    assert long == (2 * short if grows else short + 21 * (H + HV) * (name == "fixed"))
    assert 0 < short <= naive.SPECS["softmax"].state_size(63, H, HV)


def test_state_sizes_are_those_of_their_papers():
    sizes = {n: naive.SPECS[n].state_size(64, 8, 4) for n in KERNELS}
    assert sizes == {
        "softmax": 64 * 12,
        "window": 3 * 12,
        "dilated": 5 * 12,
        "local": 4 * 12,
        "strided": 64 * 12,
        "fixed": (3 + 21) * 12,
        "longformer": 5 * 12,
        "bigbird": 64 * 12,
        "streaming": 5 * 12,
        "linear": 8 * 5,
        "performer": 6 * 5,
        "linformer": 3 * 12,
    }
