"""Runs of the command line that tests end at a random moment, and begin again."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest

from attn import records

ROOT = Path(__file__).parents[1]
SAVED = 25
"""The steps from one checkpoint to the next."""
WORDS = (
    f"run recall_linear --model.d-model 16 --seeds 2 --train.save-every {SAVED} "
    "--train.warmup-steps 2 --train.batch-size 8 --task.num-train 64 --task.num-valid 16 --task.num-test 16 "
    "--task.vocab-size 32 --task.seq-len 32"
).split()


class Starter:
    """Starts one run in any number of folders, all on one copy of the data."""

    def __init__(self, data: Path, words: str):
        self._env = os.environ | {"ATTN_DATA_DIR": str(data)}
        self._words = [*WORDS, *words.split()]
        self._begun: list[subprocess.Popen] = []

    def __call__(self, folder: Path) -> subprocess.Popen:
        command = [sys.executable, "launch.py", *self._words, "--workdir", str(folder)]
        out = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=ROOT, env=self._env, stdout=out, stderr=subprocess.STDOUT
        )
        self._begun.append(process)
        return process

    def end(self) -> None:
        """Ends what still runs."""
        for process in self._begun:
            process.terminate()
            process.communicate(timeout=120)


@dataclass(frozen=True)
class Whole:
    """A run that was left alone."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def start(request, tmp_path_factory):
    """Starts the run that `WORDS` of the module says in a folder."""
    start = Starter(tmp_path_factory.mktemp("data"), request.module.WORDS)
    yield start
    start.end()


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """That run, left alone."""
    return leave_alone(start, tmp_path_factory.mktemp("runs"))


def leave_alone(start: Starter, folder: Path) -> Whole:
    """Runs to the end, once its programs were compiled."""
    finish(start(folder / "first"))
    began = time.monotonic()
    finish(start(folder / "whole"))
    return Whole(folder / "whole", time.monotonic() - began)


def finish(process: subprocess.Popen) -> bytes:
    """Waits for a run to end well; returns what it printed."""
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def saved(folder: Path) -> list[int]:
    """The steps of the checkpoints that are whole; one being written has a longer name."""
    names = [path.name for path in folder.glob("checkpoints/*")]
    return [int(name) for name in names if name.isdecimal()]


def await_checkpoint(folder: Path, step: float = 0) -> None:
    """Waits for a checkpoint of this step, or a later one."""
    until = time.monotonic() + 240
    while max(saved(folder), default=-1) < step:
        assert time.monotonic() < until, f"the run saved no step from {step} on"
        time.sleep(0.01)


def await_moment(folder: Path, whole: Whole, turn: str, *, training: bool) -> None:
    """Waits for a random moment of a run that has begun: of all of it, or of training.

    Those of training come before its last quarter, so that there is a run to be ended.
    """
    chance = random.Random(turn)
    if training:
        step = chance.uniform(0, 0.75) * max(saved(whole.folder))
        await_checkpoint(folder, step)
        time.sleep(chance.uniform(0, 0.1))
        assert not (folder / "result.json").exists()
    else:
        time.sleep(chance.uniform(0.05, whole.seconds))


def lines(folder: Path) -> list[dict]:
    """The whole lines of `metrics.jsonl`."""
    path = folder / "metrics.jsonl"
    rows = path.read_text().splitlines() if path.exists() else []
    return [json.loads(row) for row in rows if row.endswith("}")]


def lost(folder: Path) -> int:
    """The steps that were recorded after the newest whole checkpoint."""
    recorded = [line["step"] for line in lines(folder)]
    return max(recorded, default=0) - max(saved(folder), default=0)


def same(folder: Path, other: Path) -> bool:
    """Whether losses of every step, test scores and trained weights are equal to the bit."""
    pairs = zip(_made(folder), _made(other), strict=True)
    return all(jax.tree.all(jax.tree.map(np.array_equal, *pair)) for pair in pairs)


def _made(folder: Path) -> tuple[list, dict, list[np.ndarray]]:
    losses = [
        (row["step"], row["train_loss"], row.get("valid")) for row in lines(folder)
    ]
    weights = jax.tree.leaves(records.restore(folder, seed=1))
    result = json.loads((folder / "result.json").read_text())
    return losses, result["test"], [np.asarray(leaf) for leaf in weights]
