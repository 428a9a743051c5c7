"""Benchmark records as data: all that the tables are made from."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from attn.bench.cases import direction
from attn.bench.measure import Spread

Status = Literal["ok", "unsupported", "wrong", "failed", "slow"]
Verdict = Literal["aim met", "met", "missed", "not measured"]


@dataclass(frozen=True)
class Row:
    """The result of one rival in one case."""

    rival: str
    status: Status
    reason: str = ""
    """Why there are no times, or a remark on them."""
    samples_ms: tuple[float, ...] = ()
    """Milliseconds a call in each round; if `slow`, of its only call."""
    ms: Spread | None = None
    ratio: Spread | None = None
    """Its time over ours, paired within each round."""
    error: float | None = None
    """Largest difference from the definition, over the definition's largest value."""
    temp_bytes: int | None = None
    compile_seconds: float | None = None
    gflops: float | None = None
    """The useful rate, over visible pairs only, at the median time."""
    share: float | None = None
    """The share of `gflops` in this machine's matmul rate in the same dtype."""

    @property
    def time(self) -> Spread | None:
        """The spread `ms`, or of a call that was timed once, that time."""
        return self.ms or (Spread.of(self.samples_ms) if self.samples_ms else None)


@dataclass(frozen=True)
class CaseRecord:
    """A case, and the results of all rivals that ran it."""

    name: str
    mask: str
    dtype: str
    shape: str
    backward: bool
    tokens: int
    density: float
    useful_flops: float
    rows: tuple[Row, ...]

    @property
    def direction(self) -> str:
        return direction(self.backward)

    @property
    def shape_at_any_length(self) -> str:
        """The shape without its length, as in `1 x T x 8 x 64`."""
        return self.shape.replace(f" x {self.tokens} x ", " x T x ", 1)

    def row(self, rival: str) -> Row | None:
        """The result of `rival` in this case; None if it did not run."""
        return next((row for row in self.rows if row.rival == rival), None)


@dataclass(frozen=True)
class ModelRecord:
    """A race of whole models, and the results of all that ran it."""

    name: str
    tokens: int
    """Tokens that one call generates, or trains on."""
    rows: tuple[Row, ...]

    def row(self, rival: str) -> Row | None:
        """The result of `rival`; None if it did not run."""
        return next((row for row in self.rows if row.rival == rival), None)


@dataclass(frozen=True)
class DensityRecord:
    """The time of our blockwise kernel under a mask, and its ratio to no mask."""

    name: str
    density: float
    samples_ms: tuple[float, ...]
    ms: Spread
    excess: Spread
    """Time over density x own dense time, paired within each round; 1 is ideal."""


@dataclass(frozen=True)
class CompileRecord:
    """Compile time and scratch memory of our kernel at one length."""

    name: str
    tokens: int
    samples_seconds: tuple[float, ...]
    """Seconds for tracing, lowering and compiling, each time anew."""
    temp_bytes: int | None
    """Scratch memory, where the backend reports it."""


@dataclass(frozen=True)
class Fit:
    """A cost fitted as a power of the number of tokens."""

    exponent: float
    error: float | None
    """The standard error of the exponent; None for two lengths."""
    tokens: tuple[int, ...]
    """The lengths of the fit."""


@dataclass(frozen=True)
class Crossover:
    """The number of tokens from which a mechanism is faster than softmax."""

    kind: Literal["below", "at", "beyond", "never"]
    """`below` the shortest length measured, `beyond` the longest where its ratio still
    falls, and `never` where it does not."""
    tokens: int


@dataclass(frozen=True)
class GrowthRecord:
    """Cost growth of one mechanism in one direction, over a scaling suite's lengths."""

    mechanism: str
    family: str
    rival: str
    """The name in the rows of the cases."""
    backward: bool
    time: Fit | None
    scratch: Fit | None
    ratio: Spread | None
    """The ratio of its time to that of softmax, at the length where ratios are
    reported."""
    crossover: Crossover | None
    compile_seconds: float | None
    """At the same length."""
    note: str

    @property
    def direction(self) -> str:
        return direction(self.backward)


@dataclass(frozen=True)
class StepRecord:
    """A decoding step of one mechanism at one length, and the cache that it reads."""

    tokens: int
    """The length that the cache is begun for; the last tokens of it are decoded."""
    row: Row
    """Its times are of one step."""
    cache_bytes: int
    """Of the arrays that hold keys and values, or states."""
    declared_bytes: int
    """By the formula of the layer, from its config alone."""


@dataclass(frozen=True)
class DecodingRecord:
    """Decoding steps of one mechanism, at every length of a suite."""

    mechanism: str
    family: str
    steps: tuple[StepRecord, ...]
    """By length, the shortest first."""
    growth: Spread | None
    """The time at the greatest length over that at the shortest, paired within each
    round."""
    note: str

    @property
    def apart(self) -> dict[int, int]:
        """The bytes by which the cache differs from its formula, by length, where it does."""
        return {
            one.tokens: one.cache_bytes - one.declared_bytes
            for one in self.steps
            if one.cache_bytes != one.declared_bytes
        }


@dataclass(frozen=True)
class Judgement:
    """A target, and the verdict on it."""

    title: str
    against: str
    bound: float
    aim: float
    higher_is_better: bool
    found: Spread | None
    where: str
    """The case that decided, or why there is no number."""
    verdict: Verdict


@dataclass(frozen=True)
class Record:
    """The record of one run of one suite on one machine."""

    suite: str
    rounds: int
    machine: dict[str, Any]
    cases: tuple[CaseRecord, ...]
    density: tuple[DensityRecord, ...]
    compiling: tuple[CompileRecord, ...]
    targets: tuple[Judgement, ...]
    mark: int | None = None
    """In a scaling suite: the length at which ratios and compile times are reported."""
    growth: tuple[GrowthRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()
    decoding: tuple[DecodingRecord, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Converts the record to JSON values."""
        return asdict(self)
