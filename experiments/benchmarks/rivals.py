"""Suites of our softmax kernel against other libraries', with targets."""

from collections.abc import Iterable
from itertools import product

from attn.bench.cases import MASKS, Case, Race
from attn.bench.suite import Suite, Target
from attn.masks import Causal, Window

FORWARD, TRAINED = Case(4096), Case(4096, backward=True)
HALF = Case(2048, dtype="bfloat16")
LONG_WINDOW = Case(16384, Window(255, 0), backward=True)
SHORT = tuple(
    Case(T, dtype=dtype, backward=backward)
    for T, dtype, backward in product(
        (64, 128, 256), ("float32", "bfloat16"), (False, True)
    )
)
COMMON = ("attn", "jax.nn", "flax", "torch sdpa")
LARGE = ("attn", "jax.nn", "torch sdpa", "attnax", "tokamax")
FEW_MASKS = ("full", "window 256", "global 64 | window 256")
"""Masks whose gradients are timed too, which takes long."""


def under(names: Iterable[str], backward: bool) -> tuple[Case, ...]:
    """A case of 16,384 tokens under each mask."""
    return tuple(Case(16384, MASKS[name], backward=backward) for name in names)


TARGETS = Suite(
    races=(
        Race(FORWARD),
        Race(HALF),
        Race(TRAINED, LARGE),
        Race(LONG_WINDOW, ("attn", "jax.nn", "torch sdpa")),
        *(Race(case, COMMON) for case in SHORT),
    ),
    targets=(
        Target(
            "causal forward, float32, 4,096 tokens",
            *("speed", 4.0, 8.0, "jax.nn", (FORWARD,)),
        ),
        Target(
            "causal forward, bfloat16, 2,048 tokens",
            *("speed", 4.0, 6.0, "jax.nn", (HALF,)),
        ),
        Target(
            "causal forward + backward, float32, 4,096 tokens",
            *("speed", 5.0, 10.0, "jax.nn", (TRAINED,)),
        ),
        Target(
            "causal forward, float32, 4,096 tokens",
            *("speed", 0.7, 1.0, "torch sdpa", (FORWARD,)),
        ),
        Target(
            "causal forward + backward, float32, 4,096 tokens",
            *("speed", 0.6, 1.0, "torch sdpa", (TRAINED,)),
        ),
        Target(
            "window 256 forward + backward, 16,384 tokens",
            *("speed", 3.0, 8.0, "torch sdpa", (LONG_WINDOW,)),
        ),
        Target("256 tokens and fewer", "speed", 0.95, 1.1, "jax.nn", SHORT),
        Target("time over density x own dense time", "density", 1.3, 1.1),
        Target("scratch memory, 65,536 tokens, MB", "scratch", 64.0, 16.0),
        Target("scratch growth for 4 times the tokens", "growth", 4.5, 4.0),
        Target("compile time up to 65,536 tokens, s", "compile", 3.0, 1.0),
    ),
    density=(*under(MASKS, False), *under(FEW_MASKS, True)),
    lengths=(4096, 16384, 65536),
)

GRID = Suite(
    races=tuple(
        Race(Case(T, MASKS[mask], dtype, backward, K=K))
        for (T, K), mask, dtype, backward in product(
            ((512, 8), (2048, 8), (2048, 2), (8192, 8)),
            ("full", "causal", "window 256"),
            ("float32", "bfloat16"),
            (False, True),
        )
    ),
    density=(*under(MASKS, False), *under(MASKS, True)),
    lengths=(1024, 4096, 16384, 65536),
)

QUICK = Suite(
    races=(
        Race(Case(256), (*COMMON, "attn dense", "attn blockwise")),
        Race(Case(1024, Causal(), backward=True), (*COMMON, "attnax", "tokamax")),
    ),
    density=(Case(2048, MASKS["full"]), Case(2048, Causal())),
    lengths=(1024, 4096),
)
