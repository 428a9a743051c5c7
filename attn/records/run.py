"""Run folders, read back: one experiment, its seeds, and the one definition of +-.

A run folder is a folder with a `result.json`. Everything a table, a picture or the
page says comes from here, so that no two of them can disagree about a number.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attn.errors import UserError

FAMILIES = ("dense", "sparse", "lowrank", "recurrent")

# Student's t at 97.5 %, for 1 to 30 degrees of freedom (Abramowitz & Stegun 26.10).
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t_quantile(degrees: int) -> float:
    """Student's t at 97.5 %: the half width of a 95 % interval, in standard errors."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = 1.959964  # Cornish-Fisher about the normal; good to 1e-4 from here on
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    )


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and how far the truth may be from it."""

    mean: float
    half: float | None
    """Half width of the 95 % interval (Student t, n - 1 degrees); None when n = 1."""
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean itself when n = 1."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval; the mean itself when n = 1."""
        return self.mean + (self.half or 0.0)


def estimate(values: Sequence[float | int]) -> Estimate:
    """The mean of one number a seed and its 95 % interval.

    A seed that is not finite makes the mean NaN: a diverged seed is never dropped.
    """
    n = len(values)
    if not all(math.isfinite(value) for value in values):
        return Estimate(math.nan, None, n)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Estimate(mean, t_quantile(n - 1) * spread / math.sqrt(n), n)


@dataclass(frozen=True)
class Run:
    """One run folder: what was asked, where it ran, what came out."""

    directory: Path
    config: Mapping[str, Any]
    env: Mapping[str, Any]
    result: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    """Lines of `metrics.jsonl`, in order."""

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.config["name"]

    @property
    def failed(self) -> bool:
        """Whether there is no score to show."""
        return self.result["status"] != "done"

    @property
    def study(self) -> str | None:
        """The question this run belongs to, when a study asked it."""
        return self.result.get("study")

    @property
    def task(self) -> Mapping[str, Any]:
        """The task's config; `is` says which task."""
        return self.config["task"]

    @property
    def mechanism(self) -> str:
        """The kernel's name."""
        kernel = self.result.get("kernel") or self.config["model"].get("kernel") or {}
        return kernel.get("is", "unknown")

    @property
    def family(self) -> str:
        """Of the mechanism: dense, sparse, lowrank, recurrent; `other` when unsaid."""
        return (self.result.get("kernel") or {}).get("family") or "other"

    @property
    def metric(self) -> str:
        """Which number of `test` is the score."""
        return self.result.get("metric") or "accuracy"

    @property
    def higher_is_better(self) -> bool:
        """Which way the score improves."""
        return bool(self.result.get("higher_is_better", True))

    @property
    def score(self) -> Estimate | None:
        """The metric on the test split; None for a run that failed."""
        return None if self.failed else estimate(self.result["test"][self.metric])

    @property
    def baselines(self) -> Mapping[str, float]:
        """The metric of predictors without a model, by name."""
        found = self.result.get("baselines") or {}
        return {name: float(value) for name, value in found.items()}

    def curve(self) -> list[tuple[int, Estimate]]:
        """The metric on the validation split: (step, estimate) at every look."""
        seen = [
            line for line in self.metrics if self.metric in (line.get("valid") or {})
        ]
        return [(line["step"], estimate(line["valid"][self.metric])) for line in seen]

    def order(self) -> tuple:
        """Sorts runs by family, then mechanism, then heads, then name."""
        known = self.family in FAMILIES
        place = FAMILIES.index(self.family) if known else len(FAMILIES)
        heads = self.result.get("num_heads") or 0
        return place, self.family, self.mechanism, heads, self.name, str(self.directory)


@dataclass(frozen=True)
class Maps:
    """Attention of one seed on one test example."""

    layers: Mapping[str, np.ndarray]
    """float32 [N, T, S] by layer, first to last."""
    labels: tuple[str, ...]
    """What to write beside each of the T tokens."""


def load(directory: Path | str) -> list[Run]:
    """Every run folder in `directory`, at any depth, by family and mechanism.

    Raises `UserError` when there is none, or when a file in one is damaged.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder; give the folder of your runs")
    found = sorted(path.parent for path in directory.rglob("result.json"))
    if not found:
        raise UserError(
            f"no run in {directory}: no result.json at any depth; "
            "train one with `launch.py run NAME --workdir DIR`"
        )
    return sorted((read_run(folder) for folder in found), key=Run.order)


def read_run(folder: Path) -> Run:
    """One run folder. Raises `UserError` naming the file that is damaged."""
    config = _read(folder / "config.json", "name", "task", "model")
    result = _read(folder / "result.json", "status")
    run = Run(folder, config, _read(folder / "env.json"), result, _lines(folder))
    if not run.failed:
        scores = (result.get("test") or {}).get(run.metric)
        if not isinstance(scores, list) or not scores:
            raise UserError(
                f"{folder / 'result.json'} says done but has no test.{run.metric}; "
                "run the experiment again"
            )
    return run


def read_maps(run: Run) -> Maps | None:
    """The attention maps a run kept; None when it kept none."""
    path = run.directory / "maps.npz"
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith("layer_")]
            names.sort(key=lambda name: int(name.removeprefix("layer_")))
            layers = {name: file[name].astype(np.float32) for name in names}
            tokens = file["labels"] if "labels" in file.files else file["tokens"]
            return Maps(layers, tuple(str(token) for token in tokens))
    except Exception as error:  # zip, zlib, pickle and key errors, all one to a reader
        raise UserError(
            f"{path} cannot be read ({error}); delete it or run again"
        ) from error


def _read(path: Path, *fields: str) -> dict[str, Any]:
    """A JSON object with at least these fields."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; the run folder is not whole") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it or run again"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (no JSON object); delete it or run again")
    missing = [name for name in fields if name not in values]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}; run the experiment again")
    return values


def _lines(folder: Path) -> tuple[dict[str, Any], ...]:
    """The lines of `metrics.jsonl`; none when the run failed before its first."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return ()
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path} line {number} is damaged ({error}); delete the line"
            ) from error
    return tuple(lines)
