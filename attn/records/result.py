"""Measurements of a run as typed data: result, metrics, checkpoint notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attn.config.tuning import Tuning

Scores = Mapping[str, tuple[float, ...]]
"""Each metric by name, one number a seed; NaN where a seed diverged."""


@dataclass(frozen=True)
class Asked:
    """The part of `config.json` that tables need; the codec reads the rest."""

    name: str
    task: Mapping[str, Any]
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Mechanism:
    """The first kernel of a model, and its mask within the experiment's."""

    name: str = field(metadata={"json": "is"})
    family: str | None = None
    density: float | None = None
    """Share of the T x T scores that the mask keeps."""
    exact: bool | None = None


@dataclass(frozen=True)
class Layer:
    """The choice that one attention layer got while the training step was traced."""

    kernel: str
    implementation: str


@dataclass(frozen=True)
class Data:
    """The dataset: its TFDS builder, and the hash of its rows."""

    builder: str
    sha256: str


@dataclass(frozen=True)
class Line:
    """One line of `metrics.jsonl`: the call that ended at `step`, a number a seed."""

    step: int
    train_loss: tuple[float, ...] = ()
    grad_norm: tuple[float, ...] = ()
    step_ms: float | None = None
    seconds: float | None = None
    valid: Scores | None = None
    """Scores on the validation split, at the steps that evaluate it."""


@dataclass(frozen=True)
class Clocks:
    """Wall times of a run, over all its processes."""

    step_ms: tuple[float, ...] = ()
    """Milliseconds a step of one replica, in each call."""
    host_ms: tuple[float, ...] = ()
    """Milliseconds a step that Python takes, in each call."""
    compile_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True)
class Measured:
    """The part of a result that is measured, kept in checkpoints beside the state."""

    history: tuple[Line, ...] = ()
    clocks: Clocks = Clocks()
    temp_bytes: int | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    data_sha256: str = ""
    """The hash of the data that the run is of."""
    partial: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    """The metrics of each step of a call that was stopped within, one number a seed."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """All of `result.json`; None is what was not measured."""

    status: Literal["done", "failed"]
    error: str | None = None
    study: str | None = None
    """The study that the run belongs to, if any."""
    tuning: Tuning | None = None
    """The grid that the learning rate comes from, if any."""
    fingerprint: str | None = None
    metric: str = "accuracy"
    higher_is_better: bool = True
    valid: Scores | None = None
    test: Scores | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    """The metric of each trivial baseline, by name."""
    kernel: Mechanism | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    """Every attention layer, by its scope in the model."""
    dataset: Data | None = None
    steps: int | None = None
    params: int | None = None
    train_flops_per_step: float | None = None
    state_bytes: int | None = None
    """Bytes of the decoding state."""
    temp_bytes: int | None = None
    """Scratch memory of a training step of all seeds."""
    step_ms: float | None = None
    """Median over calls: the time of a step of all replicas over their number."""
    host_ms: float | None = None
    compile_seconds: float | None = None
    wall_seconds: float | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    head_dim: int | None = None
    d_ff: int | None = None
    seal: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each other file of the folder; empty in folders from before
    seals."""
