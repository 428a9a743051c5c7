"""Suites as data: the races, what is measured of our kernel alone, and the targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from attn.bench.cases import Case, Race
from attn.bench.models import ModelCase
from attn.errors import UserError, require_positive, unknown
from attn.kernels import KERNELS

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
    "step growth",
    "cache difference",
]
DECODERS = tuple(name for name, spec in KERNELS.items() if "decoding" in spec.can)
"""The mechanisms that decode."""
Knob = int | Callable[[int], int]
"""The value of a mechanism's field, or the value at a length of T tokens."""


@dataclass(frozen=True)
class Target:
    """A bound on a measured number, and the value aimed for."""

    title: str
    kind: Kind
    bound: float
    """At least this much for `speed`, at most this much for the other kinds."""
    aim: float
    against: str = ""
    """For `speed`: the rival whose time over ours counts; for `time ratio`: under ours."""
    cases: tuple[Case | ModelCase, ...] = ()
    """For `speed`: the worst of them counts."""
    who: tuple[str, ...] = ()
    """For suites of mechanisms: names and families, of which the worst counts; else all."""

    @property
    def higher_is_better(self) -> bool:
        return self.kind == "speed"


@dataclass(frozen=True)
class Scaling:
    """All mechanisms at increasing lengths, against softmax: how their cost grows."""

    lengths: tuple[int, ...]
    """Numbers of tokens, increasing."""
    fit_from: int
    """The shortest length from which exponents are fitted; fixed costs weigh below."""
    mark: int
    """The length at which ratios and compile times are reported."""
    mechanisms: tuple[str, ...] = ()
    """Names in `attn.kernels.KERNELS`; all unless given."""
    knobs: Mapping[str, Mapping[str, Knob]] = field(default_factory=dict)
    """Fields of a mechanism that differ from their defaults."""
    heads: int = 4
    head_dim: int = 64
    patience: float = 10.0
    """Seconds a call beyond which it is timed once, and skipped at longer lengths."""
    budget: float = 6.0
    """Seconds of samples of one mechanism, after which it skips the remaining
    rounds."""

    def __post_init__(self):
        if len(self.lengths) < 2 or list(self.lengths) != sorted(set(self.lengths)):
            raise UserError(
                f"lengths {self.lengths}; scaling needs two or more, rising"
            )
        if self.mark not in self.lengths:
            raise UserError(f"mark = {self.mark}; it must be one of {self.lengths}")
        if sum(self.fit_from <= T for T in self.lengths) < 2:
            raise UserError(
                f"fit_from = {self.fit_from}; a line needs two lengths of {self.lengths}"
            )

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases by length, forward and then with gradients."""
        N = self.heads
        return tuple(
            Case(T, backward=backward, N=N, K=N, H=self.head_dim)
            for T, backward in product(self.lengths, (False, True))
        )

    def part(self, only: str) -> "Scaling | None":
        """Selects the mechanisms whose names contain `only`; None if there are none."""
        names = tuple(name for name in self.mechanisms or KERNELS if only in name)
        return replace(self, mechanisms=names) if names else None


@dataclass(frozen=True)
class Decoding:
    """Decoding steps of all mechanisms that decode, at increasing lengths."""

    lengths: tuple[int, ...]
    """Numbers of tokens that caches are begun for, increasing."""
    mechanisms: tuple[str, ...] = ()
    """Names in `attn.kernels.KERNELS`; all that decode unless given."""
    knobs: Mapping[str, Mapping[str, Knob]] = field(default_factory=dict)
    """Fields of a mechanism that differ from their defaults."""
    heads: int = 4
    head_dim: int = 64
    steps: int = 256
    """Tokens that one call decodes, the last ones; the cache holds those before."""

    def __post_init__(self):
        require_positive(self, "heads", "head_dim", "steps")
        if len(self.lengths) < 2 or list(self.lengths) != sorted(set(self.lengths)):
            raise UserError(
                f"lengths {self.lengths}; decoding needs two or more, rising"
            )
        if self.steps >= self.lengths[0]:
            raise UserError(
                f"steps = {self.steps}; it must be below the shortest of {self.lengths}"
            )
        for name in self.mechanisms:
            if name not in DECODERS:
                raise unknown("mechanism that decodes", name, DECODERS)

    @property
    def names(self) -> tuple[str, ...]:
        """The mechanisms that are timed."""
        return self.mechanisms or DECODERS

    @property
    def cases(self) -> tuple[Case, ...]:
        """A case of each length."""
        N = self.heads
        return tuple(Case(T, N=N, K=N, H=self.head_dim) for T in self.lengths)

    def part(self, only: str) -> "Decoding | None":
        """Selects the mechanisms whose names contain `only`; None if there are none."""
        names = tuple(name for name in self.names if only in name)
        return replace(self, mechanisms=names) if names else None


@dataclass(frozen=True)
class Suite:
    """Races against other libraries, and measurements of our blockwise kernel alone."""

    races: tuple[Race, ...]
    targets: tuple[Target, ...] = ()
    density: tuple[Case, ...] = ()
    """Cases whose time is compared with their density times the dense time."""
    lengths: tuple[int, ...] = ()
    """Numbers of tokens at which compile time and scratch memory are measured, each
    four times the one before."""
    scaling: Scaling | None = None
    models: tuple[ModelCase, ...] = ()
    """Races of whole models."""
    decoding: Decoding | None = None

    def part(self, only: str) -> "Suite":
        """Selects races whose names contain `only`, with the targets of their cases.

        `masks` and `compiling` name what is measured of our kernel alone.

        Raises:
            UserError: nothing is called so.
        """
        if not only:
            return self
        races = tuple(race for race in self.races if only in race.case.name)
        density = self.density if only in "masks" else ()
        lengths = self.lengths if only in "compiling" else ()
        scaling = self.scaling and self.scaling.part(only)
        decoding = self.decoding and self.decoding.part(only)
        models = tuple(case for case in self.models if only in case.name)
        if not (races or models or density or lengths or scaling or decoding):
            names = "a mechanism's name, as in 'window'"
            if self.races:
                example = self.races[0].case.name
                names = f"a case's name, as in {example!r}, or 'masks', or 'compiling'"
            if self.models:
                names = f"a race's name, as in {self.models[0].name!r}"
            raise UserError(
                f"--only {only!r} is in no name of the suite; a part of {names}"
            )
        cases = {race.case for race in races} | {*models}
        alone = {
            "density": density,
            **dict.fromkeys(("scratch", "growth", "compile"), lengths),
            **dict.fromkeys(("step growth", "cache difference"), decoding),
        }
        targets = tuple(
            target
            for target in self.targets
            if (
                cases.issuperset(target.cases)
                if target.cases
                else alone.get(target.kind, scaling)
            )
        )
        return Suite(races, targets, density, lengths, scaling, models, decoding)
