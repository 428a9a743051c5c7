"""A suite for NVIDIA GPUs: fused kernels in bfloat16, and recurrent mechanisms."""

from dataclasses import replace

from attn.attention.backends import BACKENDS
from attn.bench.cases import MASKS, Case, Race
from attn.bench.ours import OURS
from attn.bench.suite import Suite, Target
from attn.masks import Causal

FUSED = tuple(name for name, one in BACKENDS.items() if one.vendor == "NVIDIA")
"""The implementations of ours that such a GPU has."""
LONG = (OURS, *(f"{OURS} {name}" for name in FUSED), "torch sdpa", "torch flex")
"""Rivals at 16,384 tokens: without those that hold all scores, 64 GiB in float32."""
SHORT = (*LONG, f"{OURS} blockwise", f"{OURS} dense", "jax.nn")
COMPOSITE = "causal & (global 64 | window 1024)"


def both(T: int, mask: str, H: int = 64, K: int = 16) -> tuple[Case, ...]:
    """Cases under a mask in bfloat16, 4 sequences of 16 heads, forward and trained."""
    forward = Case(T, MASKS[mask], "bfloat16", B=4, N=16, K=K, H=H)
    return forward, replace(forward, backward=True)


FEW = (*both(4096, "causal"), *both(4096, "causal", 128))
CAUSAL = (*FEW, *both(16384, "causal", 128))
GROUPED = both(4096, "causal", 128, K=4)
MASKED = {
    name: both(16384, name)
    for name in (
        *("window 256", COMPOSITE),
        "bigbird, blocks of 64",
    )
}
FLOAT32 = Case(4096, Causal(), "float32", True, B=4, N=16, K=16)
# On Hopper fla 0.6 refuses the gated backward pass with triton 3.4 to 3.7.0, which make
# wrong numbers of it (its issue 640), so the target is of the forward pass.
RECURRENT = {
    name: tuple(
        Case(T, Causal(), "bfloat16", backward, B=4, N=16, K=16, mechanism=name)
        for T in (4096, 16384)
    )
    for name, backward in (("retention", True), ("gated_delta", False))
}
GATED_TRAINED = replace(RECURRENT["gated_delta"][0], backward=True)

GPU = Suite(
    races=(
        *(Race(case, SHORT if case in FEW else LONG) for case in CAUSAL),
        *(Race(case, SHORT) for case in (*GROUPED, FLOAT32)),
        *(
            Race(case, (*LONG, f"{OURS} blockwise") if name == COMPOSITE else LONG)
            for name, cases in MASKED.items()
            for case in cases
        ),
        *(Race(case) for cases in RECURRENT.values() for case in cases),
        Race(GATED_TRAINED),
    ),
    targets=(
        Target("causal, bfloat16", "speed", 0.7, 1.0, "torch flex", CAUSAL),
        Target("causal, bfloat16", "speed", 0.8, 1.0, "torch sdpa", CAUSAL),
        Target("causal, bfloat16, 4,096 tokens", "speed", 1.0, 3.0, "jax.nn", FEW),
        Target(
            "causal, 16 heads on 4 of keys", "speed", 0.7, 1.0, "torch flex", GROUPED
        ),
        *(
            Target(f"{name}, 16,384 tokens", "speed", 0.7, 1.0, "torch flex", cases)
            for name, cases in MASKED.items()
        ),
        Target(
            "causal, float32 in TF32, 4,096 tokens",
            *("speed", 1.0, 3.0, "jax.nn", (FLOAT32,)),
        ),
        *(
            Target(f"{name}, {cases[0].direction}", "speed", 0.5, 1.0, "fla", cases)
            for name, cases in RECURRENT.items()
        ),
    ),
)
