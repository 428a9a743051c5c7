"""Logs of training for other tools, during the run: TensorBoard, Weights & Biases."""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from attn.errors import UserError

Tool = Literal["tensorboard", "wandb"]
PACKAGES: Mapping[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""The package that each tool's logs are written by."""


@runtime_checkable
class Logger(Protocol):
    """A log of runs, each with numbers by name and step."""

    def log(self, run: str, step: int, numbers: Mapping[str, float]) -> None:
        """Logs the numbers of one step of a run."""

    def close(self) -> None:
        """Writes what has not been written."""


def check(tools: Sequence[Tool]) -> None:
    """Raises `UserError` where the package of a tool is missing."""
    for tool in tools:
        if find_spec(PACKAGES[tool]) is None:
            raise UserError(
                f"--log {tool} needs the package {PACKAGES[tool]}, which is not "
                f"installed; run: pip install 'attn[{tool}]'"
            )


def open_loggers(tools: Sequence[Tool], root: Path) -> list[Logger]:
    """Opens a log for each tool, in a folder of its name in `root`."""
    kinds = {"tensorboard": TensorBoard, "wandb": Wandb}
    return [kinds[tool](root / tool) for tool in dict.fromkeys(tools)]


def numbers(values: Mapping[str, Any], first_seed: int = 0) -> dict[str, float]:
    """The numbers of a line of `metrics.jsonl`: the mean, and each seed's, by name."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = numbers(value, first_seed)
            found |= {f"{name}/{key}": number for key, number in inner.items()}
        elif isinstance(value, Sequence) and None not in value:
            found[name] = sum(value) / len(value)
            each = enumerate(value, first_seed)
            found |= {f"{name}/seed_{seed}": number for seed, number in each}
        elif isinstance(value, int | float) and name != "step":
            found[name] = value
    return found


class TensorBoard:
    """Event files for TensorBoard; what a resumed run repeats is purged."""

    def __init__(self, folder: Path):
        self._folder, self._writers = folder, {}

    def log(self, run: str, step: int, numbers: Mapping[str, float]) -> None:
        if run not in self._writers:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

            self._writers[run] = SummaryWriter(str(self._folder / run), purge_step=step)
        for name, number in numbers.items():
            self._writers[run].add_scalar(name, number, step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Wandb:
    """Runs of Weights & Biases; offline unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path):
        self._folder, self._run, self._name = folder, None, ""

    def log(self, run: str, step: int, numbers: Mapping[str, float]) -> None:
        if run != self._name:
            import wandb  # pyright: ignore[reportMissingImports]

            self.close()
            mode: Any = os.environ.get("WANDB_MODE", "offline")
            self._name = run
            self._run = wandb.init(
                project="attn",
                name=run,
                dir=self._folder.parent,  # it makes a folder wandb there
                mode=mode,
                settings=wandb.Settings(silent=True),
            )
        if self._run is not None:
            self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
