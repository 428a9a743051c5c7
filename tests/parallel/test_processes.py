"""Several processes of one run train, save and agree as one does."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import experiment_of

from attn.errors import UserError
from attn.parallel import processes
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.rules import spec
from attn.records.folder import RunFolder
from attn.train.checkpoint.restore import checkpoints_of, restore_state
from attn.train.run import run
from attn.train.signals import StopSignal

HERE = Path(__file__)
SHAPE = MeshShape(data=2, heads=2)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in processes.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "place, why",
    [
        ((None, "2", None), "JAX_NUM_PROCESSES is set and JAX_COORDINATOR_ADDRESS is"),
        (("there:1", None, "0"), "JAX_PROCESS_ID is set and JAX_NUM_PROCESSES is not"),
        (("there:1", "2", "2"), "JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=2: the one must"),
        (("there:1", "2", "x"), "JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=x: the one must"),
        (("there:1", "3", "0"), "4 devices, which 3 processes cannot share equally"),
    ],
)
def test_a_place_that_cannot_be_is_refused_by_its_variable(monkeypatch, place, why):
    for name, value in zip(processes.VARIABLES, place):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=why):
        processes.connect(4)
    assert not processes.connected()


@pytest.mark.parametrize("count, found", [("4", ("node001:62000", 4, 3)), ("1", None)])
def test_a_cluster_tells_the_place_and_one_task_of_it_is_alone(
    monkeypatch, count, found
):
    names = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")
    for name, value in zip(names, ("17", "node[001-004]", count, "3", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "62000")
    assert processes._detected() == found


def test_a_pod_outside_of_an_indexed_job_is_alone(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    assert processes._detected() is None  # and jax does not warn


def test_a_signal_to_one_of_several_processes_counts_once_all_agree():
    said = iter([None, "SIGTERM"])
    stop = StopSignal(lambda mine: next(said))
    stop._came = "SIGINT"
    assert stop.requested is None
    stop.agree()
    assert stop.requested is None
    stop.agree()
    assert stop.requested == "SIGTERM"


class Silent:
    """A watcher that shows nothing."""

    def begin(self, *_):
        pass

    note = advance = within = end = begin


EXPERIMENT = experiment_of()
EXPERIMENT = replace(EXPERIMENT, train=replace(EXPERIMENT.train, steps=6))


def train(folder: Path):
    how = {"watcher": Silent(), "stop": StopSignal(), "mesh_shape": SHAPE}
    return run(EXPERIMENT, folder, **how)


def one_of_two(folder: Path) -> None:
    """What each of two processes does in a test; they are on their own after it."""
    processes.connect(SHAPE.size)
    first = processes.is_first()
    assert processes.from_first("mine" if first else "other") == "mine"
    assert processes.any_said(None) is None
    said = None
    while said is None:  # the first hears of it in its time
        said = processes.any_said(None if first else "SIGTERM")
    assert said == "SIGTERM"

    def refuse():
        raise UserError("taken" if first else "not asked")

    with pytest.raises(UserError, match="taken"):
        processes.in_turn(refuse)
    mesh = make_mesh(SHAPE)
    rows = np.arange(32.0).reshape(4, 2, 4)
    laid = processes.place(rows, jax.NamedSharding(mesh, spec("B N T")))
    assert not laid.is_fully_addressable
    np.testing.assert_array_equal(processes.fetch(laid), rows)
    with pytest.raises(UserError, match="has 2 devices, and"):
        processes._require_all(2, 2)
    train(folder)
    processes.leave()
    assert not processes.connected()


def start(index: int, address: str, *words: str, **extra: str) -> subprocess.Popen:
    place = dict(zip(processes.VARIABLES, (address, "2", str(index))))
    paths = os.pathsep.join(map(str, (HERE.parents[2], HERE.parents[1])))
    env = os.environ | place | extra | {"PYTHONPATH": paths}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], env=env, **pipes)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folders of one run by two processes, and by one."""
    from attn.cli.supervisor import _free_port

    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_DATA_DIR", str(root / "data"))
        address = f"127.0.0.1:{_free_port()}"
        two = [start(i, address, str(HERE), str(root / "two")) for i in (0, 1)]
        try:
            train(root / "one")
            ended = [process.communicate(timeout=280) for process in two]
        finally:
            for process in two:
                process.kill()
                process.communicate()
    assert [process.returncode for process in two] == [0, 0], ended
    return root / "two", root / "one"


def restored(folder: Path, shape: MeshShape):
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        found = restore_state(EXPERIMENT, checkpoints_of(EXPERIMENT, folder), mesh)
    assert found is not None
    return found


@pytest.mark.exhaustive
def test_two_processes_have_the_losses_of_one_and_write_one_record(both):
    lines = [
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()]
        for f in both
    ]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for mine, theirs in zip(*lines):
        # The layout is the same, so every bit is.
        assert mine["train_loss"] == theirs["train_loss"]
        assert mine.get("valid") == theirs.get("valid")
    results = [RunFolder(folder).finished(EXPERIMENT) for folder in both]
    assert results[0] is not None
    assert results[0].test["loss"] == results[1].test["loss"]
    assert json.loads((both[0] / "env.json").read_text())["process_count"] == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("shape", [MeshShape(), MeshShape(data=4), MeshShape(heads=2)])
def test_what_two_processes_saved_one_restores_on_any_mesh(both, shape):
    two, one = (restored(folder, s) for folder, s in zip(both, (shape, SHAPE)))
    assert two.step == one.step == EXPERIMENT.train.steps
    for mine, theirs in zip(*(jax.tree.leaves(r.state["params"]) for r in (two, one))):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


LOST = {
    0: "the others did not come to 127.0.0.1:{} within 1 s",
    1: "no coordinator answers at 127.0.0.1:{} within 1 s",
}


@pytest.mark.slow
@pytest.mark.parametrize("index", LOST)
def test_a_process_that_is_alone_says_so_in_one_line(index):
    from attn.cli.supervisor import _free_port

    code = (
        "from attn.parallel import processes\n"
        "processes.CONNECT_SECONDS = 1\n"
        "processes.connect(2)\n"
    )
    began, port = time.monotonic(), _free_port()
    lost = start(index, f"127.0.0.1:{port}", "-c", code)
    _, said = lost.communicate(timeout=100)
    assert lost.returncode == 1
    assert said == (
        f"failed: process {index} of 2: {LOST[index].format(port)}; "
        "see that all are started and reach it\n"
    )
    assert time.monotonic() - began < 60


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]))
