"""The suites, as data: who meets whom, and what we hold ourselves to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from attn.bench.cases import MASKS, Case, Race
from attn.errors import UserError
from attn.masks import Causal, Window

Kind = Literal[
    "speed",
    "density",
    "scratch",
    "growth",
    "compile",
    "time exponent",
    "scratch exponent",
    "time ratio",
    "compile each",
]


@dataclass(frozen=True)
class Target:
    """A bound on a number that the suite measures, and what we aim for."""

    title: str
    kind: Kind
    bound: float
    """At least this much for `speed`, at most this much for the other kinds."""
    aim: float
    against: str = ""
    """For `speed`: the rival whose time over ours counts; for `time ratio`: under ours."""
    cases: tuple[Case, ...] = ()
    """For `speed`: the worst of them counts."""
    who: tuple[str, ...] = ()
    """On a ladder: mechanisms and families, of which the worst counts; all unless given."""

    @property
    def higher_is_better(self) -> bool:
        return self.kind == "speed"


@dataclass(frozen=True)
class Ladder:
    """Every mechanism at rising lengths, beside softmax: how its cost grows."""

    lengths: tuple[int, ...]
    """Tokens, rising."""
    fit_from: int
    """The shortest length from which exponents are fitted; fixed costs weigh below."""
    mark: int
    """The length at which ratios and compile times are told."""
    mechanisms: tuple[str, ...] = ()
    """Names in `attn.kernels.KERNELS`; all unless given."""
    heads: int = 4
    head_dim: int = 64
    patience: float = 10.0
    """Seconds of a call beyond which it is timed once, and not tried on longer texts."""
    budget: float = 6.0
    """Seconds of samples of one entrant, after which it sits out the rounds left."""

    def __post_init__(self):
        if len(self.lengths) < 2 or list(self.lengths) != sorted(set(self.lengths)):
            raise UserError(f"lengths {self.lengths}; a ladder is two or more, rising")
        if self.mark not in self.lengths:
            raise UserError(f"mark = {self.mark}; it must be one of {self.lengths}")
        if sum(self.fit_from <= T for T in self.lengths) < 2:
            raise UserError(
                f"fit_from = {self.fit_from}; a line needs two lengths of {self.lengths}"
            )

    @property
    def cases(self) -> tuple[Case, ...]:
        """Length by length, forward and then with gradients."""
        N = self.heads
        return tuple(
            Case(T, backward=backward, N=N, K=N, H=self.head_dim)
            for T, backward in product(self.lengths, (False, True))
        )


@dataclass(frozen=True)
class Suite:
    """Races, and what is measured of our blockwise kernel alone."""

    races: tuple[Race, ...]
    targets: tuple[Target, ...] = ()
    density: tuple[Case, ...] = ()
    """Cases whose time is held against their density and the dense time."""
    lengths: tuple[int, ...] = ()
    """Tokens at which compile time and scratch memory are taken, rising fourfold."""
    ladder: Ladder | None = None


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
"""Of which the gradients are timed too; they take long."""


def under(names: Iterable[str], backward: bool) -> tuple[Case, ...]:
    """16,384 tokens under each mask."""
    return tuple(Case(16384, MASKS[name], backward=backward) for name in names)


TARGETS = (
    Target(
        "causal forward, float32, 4,096 tokens", "speed", 4.0, 8.0, "jax.nn", (FORWARD,)
    ),
    Target(
        "causal forward, bfloat16, 2,048 tokens", "speed", 4.0, 6.0, "jax.nn", (HALF,)
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
)

LINEAR = ("window", "linear", "recurrent")
DEFINITION = ("softmax by definition",)

GROWTH = (
    Target(
        "time exponent, softmax by definition",
        "time exponent",
        2.3,
        2.1,
        who=DEFINITION,
    ),
    Target(
        "scratch exponent, softmax by definition",
        "scratch exponent",
        2.1,
        2.05,
        who=DEFINITION,
    ),
    Target(
        "time exponent, window, linear, recurrent family",
        "time exponent",
        1.3,
        1.1,
        who=LINEAR,
    ),
    Target(
        "scratch exponent, window, linear, recurrent family",
        "scratch exponent",
        1.2,
        1.05,
        who=LINEAR,
    ),
    Target(
        "forward + backward, 4,096 tokens, window, linear, recurrent family: time over theirs",
        *("time ratio", 1.0, 0.5, "softmax"),
        who=LINEAR,
    ),
    Target(
        "compile time of every mechanism, 4,096 tokens, s", "compile each", 5.0, 2.0
    ),
)

GRID = tuple(
    Race(Case(T, MASKS[mask], dtype, backward, K=K))
    for (T, K), mask, dtype, backward in product(
        ((512, 8), (2048, 8), (2048, 2), (8192, 8)),
        ("full", "causal", "window 256"),
        ("float32", "bfloat16"),
        (False, True),
    )
)

SUITES: Mapping[str, Suite] = {
    "targets": Suite(
        races=(
            Race(FORWARD),
            Race(HALF),
            Race(TRAINED, LARGE),
            Race(LONG_WINDOW, ("attn", "jax.nn", "torch sdpa")),
            *(Race(case, COMMON) for case in SHORT),
        ),
        targets=TARGETS,
        density=(*under(MASKS, False), *under(FEW_MASKS, True)),
        lengths=(4096, 16384, 65536),
    ),
    "grid": Suite(
        races=GRID,
        density=(*under(MASKS, False), *under(MASKS, True)),
        lengths=(1024, 4096, 16384, 65536),
    ),
    "quick": Suite(
        races=(
            Race(Case(256), (*COMMON, "attn dense", "attn blockwise")),
            Race(Case(1024, Causal(), backward=True), (*COMMON, "attnax", "tokamax")),
        ),
        density=(Case(2048, MASKS["full"]), Case(2048, Causal())),
        lengths=(1024, 4096),
    ),
    "mechanisms": Suite(
        races=(),
        targets=GROWTH,
        ladder=Ladder(
            (1024, 2048, 4096, 8192, 16384),
            fit_from=2048,
            mark=4096,
            patience=8.0,
            budget=3.0,
        ),
    ),
}
