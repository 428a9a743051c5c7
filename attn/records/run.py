"""Run folders read back: an experiment, its seeds and its result, as typed data.

A run that has ended is a folder with a `result.json`. Everything a table, a picture or the
page says comes from here, so that no two of them can disagree about a number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import quantiles
from typing import Any, get_args

from attn.config import Experiment
from attn.errors import UserError
from attn.kernels.base import Family
from attn.records.estimates import Estimate, estimate
from attn.records.files import read_bytes, read_json
from attn.records.identity import experiment_of
from attn.records.maps import NAME as MAPS
from attn.records.maps import Maps, unpack
from attn.records.result import Asked, Line, Result
from attn.records.seal import digest, is_signed
from attn.records.typed import decode

FAMILIES = get_args(Family)


@dataclass(frozen=True)
class Run:
    """One run folder: its config, environment and results."""

    directory: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    result: Result
    metrics: tuple[Line, ...] = ()
    sealed: bool = False
    """Whether the result carries checksums, and every file matches them."""
    others: tuple[Path, ...] = ()
    """The folders of further seeds that are part of this run."""
    other_environments: tuple[Mapping[str, Any], ...] = ()
    """The environments of those folders."""
    program_seeds: int | None = None
    """The seeds of the first folder's program, where there are others."""
    unfinished: bool = False
    """Whether its end is not recorded: it was killed, or still runs."""

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, as `config.json` holds it."""
        return experiment_of(self.config)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.config["name"]

    @property
    def failed(self) -> bool:
        """Whether there is no score."""
        return self.result.status != "done"

    @property
    def study(self) -> str | None:
        """The study that the run belongs to, if any."""
        return self.result.study

    @property
    def task(self) -> Mapping[str, Any]:
        """The task's config; `is` says which task."""
        return self.config["task"]

    @property
    def mechanism(self) -> str:
        """The kernel's name."""
        if self.result.kernel is not None:
            return self.result.kernel.name
        return (self.config["model"].get("kernel") or {}).get("is", "unknown")

    @property
    def family(self) -> str:
        """The mechanism's family: dense, sparse, lowrank, recurrent; else `other`."""
        return (self.result.kernel and self.result.kernel.family) or "other"

    @property
    def metric(self) -> str:
        """The name of the score among the `test` metrics."""
        return self.result.metric

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.result.higher_is_better

    @property
    def score(self) -> Estimate | None:
        """The metric on the test split; None for a run that failed."""
        scores = self.result.test
        return None if self.failed or not scores else estimate(scores[self.metric])

    @property
    def baselines(self) -> Mapping[str, float]:
        """The metric of each trivial baseline, by name."""
        return self.result.baselines

    @property
    def environments(self) -> tuple[Mapping[str, Any], ...]:
        """The environments of all its folders."""
        return self.environment, *self.other_environments

    @property
    def memory_seeds(self) -> int | None:
        """The number of seeds whose training step `temp_bytes` is of."""
        return self.program_seeds or self.config.get("seeds")

    @property
    def data_sha256(self) -> str | None:
        """The hash of the rows that it is of; None where it is not known."""
        return (self.result.dataset and self.result.dataset.sha256) or None

    def curve(self) -> list[tuple[int, Estimate]]:
        """The metric on the validation split: (step, estimate) at each evaluation."""
        looks = [(line.step, line.valid or {}) for line in self.metrics]
        return [(at, estimate(v[self.metric])) for at, v in looks if self.metric in v]

    @property
    def step_ms_spread(self) -> tuple[float, float] | None:
        """The quartiles of the time of a step over calls; None for less than four."""
        times = [line.step_ms for line in self.metrics if line.step_ms]
        if len(times) < 4:
            return None
        first, _, third = quantiles(times, n=4, method="inclusive")
        return first, third

    def order(self) -> tuple:
        """Sorts runs by family, then mechanism, then heads, then name."""
        known = self.family in FAMILIES
        at = FAMILIES.index(self.family) if known else len(FAMILIES)
        heads = self.result.num_heads or 0
        return at, self.family, self.mechanism, heads, self.name, str(self.directory)


def read_run(folder: Path) -> Run:
    """Reads the run in a folder, and verifies every file against the result's seal.

    Damaged maps are `read_maps`' business.

    Raises:
      UserError: another file is missing, damaged or wrong; it is named.
    """
    result, sealed = read_result(folder)
    config, environment = read_config(folder), _object(folder / "env.json")
    for name in damaged_files(folder, result):
        if name != MAPS:
            raise UserError(f"{folder / name} is damaged; run the experiment again")
    run = Run(folder, config, environment, result, read_metrics(folder), sealed)
    _check_whole(run)
    return run


def read_result(folder: Path) -> tuple[Result, bool]:
    """Reads the result in a folder, and whether it carries checksums."""
    path = folder / "result.json"
    values = _object(path)
    sealed = "sha256" in values
    if sealed and not is_signed(values):
        raise UserError(f"{path} is damaged; run the experiment again")
    return decode(Result, values, where=path), sealed


def damaged_files(folder: Path, result: Result) -> list[str]:
    """The files of a folder that do not match the result's seal."""

    def found(name: str) -> str | None:
        try:
            return digest(folder / name)
        except OSError:
            return None

    return [name for name, sealed in result.seal.items() if found(name) != sealed]


def _check_whole(run: Run) -> None:
    """Raises `UserError` where a finished run lacks scores or its last metrics."""
    if run.failed:
        return
    if not (run.result.test or {}).get(run.metric):
        raise UserError(
            f"{run.directory / 'result.json'} says done but has no test.{run.metric}; "
            "run the experiment again"
        )
    last = run.metrics[-1].step if run.metrics else 0
    if run.result.steps is not None and last != run.result.steps:
        raise UserError(
            f"{run.directory / 'metrics.jsonl'} ends at step {last} of "
            f"{run.result.steps}; run the experiment again"
        )


def read_maps(run: Run) -> Maps | None:
    """Reads the attention maps of a run; None when it kept none.

    Raises:
      UserError: they are damaged, or hold more than their shapes say.
    """
    path = run.directory / MAPS
    if not path.exists():
        return None
    try:
        if MAPS in damaged_files(run.directory, run.result):
            raise ValueError("it has changed since it was sealed")
        return unpack(path)
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); run the experiment again to make the maps"
        ) from error


def read_metrics(folder: Path, *, torn: bool = False) -> tuple[Line, ...]:
    """Reads `metrics.jsonl`; empty where a run failed before its first line.

    Args:
      torn: whether a last line without an end is left out: its writing was cut short.
    """
    path = folder / "metrics.jsonl"
    content = read_bytes(path) or b""
    if torn:
        content = content[: content.rfind(b"\n") + 1]
    lines = []
    for number, text in enumerate(content.splitlines(), 1):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(
                f"{path} line {number} is damaged ({error}); run the experiment again"
            ) from error
        lines.append(decode(Line, values, where=f"{path} line {number}"))
    return tuple(lines)


def read_config(folder: Path) -> Mapping[str, Any]:
    values = _object(folder / "config.json")
    decode(Asked, values, where=folder / "config.json")
    return values


def _object(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if values is None:
        raise UserError(f"{path} is missing; the run folder is not whole")
    return values
