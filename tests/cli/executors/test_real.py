"""Real schedulers: a killed job goes on to the same bits, and a finished one is left.

They run where SLURM answers, or Ray is installed, and are skipped elsewhere; CONTRIBUTING
says how to have one node of each.
"""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from random_runs import await_checkpoint

from attn import records

ROOT = Path(__file__).parents[3]
FIXED = {
    "model.d_model": 16,
    "train.steps": 2000,
    "train.warmup_steps": 2,
    "train.batch_size": 8,
    "train.eval_every": 100,
    "train.save_every": 100,
    "task.num_train": 64,
    "task.num_valid": 16,
    "task.num_test": 16,
    "task.vocab_size": 32,
    "task.seq_len": 32,
}
WORDS = (
    *("sweep", "recall_linear", "--seeds", "1", "--over", "model.num_heads=1,2"),
    *(word for key, value in FIXED.items() for word in ("--over", f"{key}={value}")),
)
EXECUTORS = [
    pytest.param(
        ("--executor", "slurm", "--slurm.cpus", "1"),
        marks=pytest.mark.skipif(
            not which("sinfo")
            or subprocess.run("sinfo", capture_output=True).returncode,
            reason="no SLURM answers here",
        ),
        id="slurm",
    ),
    pytest.param(
        ("--executor", "ray", "--ray.cpus", "1"),
        marks=pytest.mark.skipif(
            find_spec("ray") is None, reason="no Ray is installed"
        ),
        id="ray",
    ),
]


def launch(folder: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "launch.py", *WORDS, "--workdir", str(folder), *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def job_of(run: Path) -> int:
    """The process that trains in a folder, once it has saved a checkpoint."""
    await_checkpoint(run)
    (lock,) = (int(p.name) for p in Path("/proc").glob("[0-9]*") if holds(p, run))
    return lock


def holds(process: Path, run: Path) -> bool:
    """Whether a process has the files of a run open for writing."""
    try:
        return any(str(run) in os.readlink(fd) for fd in (process / "fd").iterdir())
    except OSError:
        return False


def resumed(jobs: Path, run: str) -> int:
    """The step that a run went on from, by the log of its job."""
    (log,) = jobs.glob(f".jobs/**/{run}.log")
    return int(re.findall(r"resumed after step (\d+)", log.read_text())[-1])


def weights(run: Path) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(records.restore(run))]


@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_killed_job_goes_on_to_the_same_bits_and_a_finished_one_is_left(
    executor, tmp_path, monkeypatch
):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    alone, jobs = tmp_path / "alone", tmp_path / "jobs"
    _, said = (process := launch(alone)).communicate(timeout=300)
    assert process.returncode == 0, said
    process = launch(jobs, *executor)
    names = sorted(path.parent.name for path in alone.glob("*/result.json"))
    assert len(names) == 2
    os.kill(job_of(jobs / names[0]), signal.SIGKILL)
    told, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert "is submitted again" in told
    assert resumed(jobs, names[0]) >= FIXED["train.save_every"]
    for name in names:
        pairs = zip(weights(alone / name), weights(jobs / name), strict=True)
        assert all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    made = {path: path.stat().st_mtime_ns for path in jobs.glob("*/result.json")}
    _, said = (process := launch(jobs, *executor)).communicate(timeout=300)
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in made} == made
