"""A run that is ended at any moment goes on to the bits of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from attn import records

ROOT = Path(__file__).parents[2]
WORDS = (
    "run recall_linear --model.d-model 16 --seeds 2 --train.steps 60 "
    "--train.warmup-steps 2 --train.batch-size 8 --train.eval-every 15 "
    "--train.save-every 5 --task.num-train 64 --task.num-valid 16 --task.num-test 16 "
    "--task.vocab-size 32 --task.seq-len 32"
).split()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the run in a folder, all on one copy of the data."""
    env = os.environ | {"ATTN_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    begun = []

    def begin(folder: Path, *more: str) -> subprocess.Popen:
        command = [sys.executable, "launch.py", *WORDS, "--workdir", str(folder), *more]
        out, err = subprocess.PIPE, subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.terminate()
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> tuple[Path, float]:
    """A run that was left alone, once its programs were compiled, and its seconds."""
    for name in ("first", "whole"):
        folder, began = tmp_path_factory.mktemp("runs") / name, time.monotonic()
        finish(start(folder))
    return folder, time.monotonic() - began


def finish(process: subprocess.Popen) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def made(folder: Path) -> tuple[list, dict, list[np.ndarray]]:
    """The losses of every step, the test scores, and the trained weights."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    losses = [(row["step"], row["train_loss"], row.get("valid")) for row in lines]
    weights = jax.tree.leaves(records.restore(folder, seed=1))
    result = json.loads((folder / "result.json").read_text())
    return losses, result["test"], [np.asarray(leaf) for leaf in weights]


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_ended_at_a_random_moment_goes_on_to_the_same_bits(
    start, whole, tmp_path, number, turn
):
    folder, seconds = whole
    moment = random.Random(f"{number.name} {turn}").uniform(0.05, seconds)
    process = start(tmp_path / "run")
    time.sleep(moment)
    process.send_signal(number)
    sent = time.monotonic()
    _, said = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode in (75, 0, -number), said
        assert b"Traceback" not in said
        assert time.monotonic() - sent < 2
    finish(start(tmp_path / "run"))
    for mine, theirs in zip(made(tmp_path / "run"), made(folder), strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, mine, theirs))


TWO = "--mesh", "data=2", "--nprocs", "2"
SAVED = 15
"""The most steps from one checkpoint to the next, as calls end where evaluations fall."""


@pytest.fixture(scope="module")
def whole_of_two(start, tmp_path_factory) -> tuple[Path, float]:
    """A run of two processes that was left alone, and its seconds."""
    folder, began = tmp_path_factory.mktemp("runs") / "two", time.monotonic()
    finish(start(folder, *TWO))
    return folder, time.monotonic() - began


def kill_one(supervisor: int, which: int, wait: float) -> None:
    """Kills one of the processes of a run some time after it began."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    began = time.monotonic()
    while len(children.read_text().split()) < 2 or time.monotonic() - began < wait:
        assert time.monotonic() - began < 90, "two processes never ran"
        time.sleep(0.02)
    os.kill(int(children.read_text().split()[which]), signal.SIGKILL)


def lost(folder: Path) -> int:
    """The steps that were recorded after the newest checkpoint."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
    names = [one.name for one in (folder / "checkpoints").glob("[0-9]*")]
    # One that is being written has a longer name.
    saved = [int(name) for name in names if name.isdigit()]
    return max(steps, default=0) - max(saved, default=0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("turn", range(10))
def test_processes_of_which_one_is_killed_go_on_to_the_same_bits(
    start, whole_of_two, tmp_path, turn
):
    whole, seconds = whole_of_two
    folder, which = tmp_path / "run", turn % 2
    run = start(folder, *TWO)
    kill_one(run.pid, which, random.Random(turn).uniform(0.05, 0.6 * seconds))
    assert lost(folder) <= SAVED
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert f"process {which} of 2 was ended by".encode() in said, said
    for mine, theirs in zip(made(folder), made(whole), strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, mine, theirs))
