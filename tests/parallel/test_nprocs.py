"""Processes that share any axis of a mesh train as one process on one device does."""

import json

import pytest
from random_runs import Starter, finish, lines

STEPS = 20
WORDS = (
    f"--kernel softmax --model.num-heads 2 --train.steps {STEPS} --train.eval-every 5"
)
MESHES = {4: ["fsdp=2,heads=2"], 2: ["seq=2", "fsdp=2"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains by a command line of these words, on the data of all others."""
    data = tmp_path_factory.mktemp("data")

    def train(words=""):
        folder = tmp_path_factory.mktemp("runs") / "run"
        start = Starter(data, f"{WORDS} {words}")
        try:
            finish(start(folder))
        finally:
            start.end()
        count = json.loads((folder / "env.json").read_text())["process_count"]
        rows = [
            (line["step"], *line["train_loss"], *line["valid"]["loss"])
            for line in lines(folder)
        ]
        assert rows[-1][0] == STEPS
        return count, rows

    return train


@pytest.fixture(scope="module")
def alone(trained):
    count, rows = trained()
    assert count == 1
    return rows


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("n", "mesh"), [(n, m) for n in MESHES for m in MESHES[n]])
def test_processes_have_the_losses_of_one_on_one_device(trained, alone, n, mesh):
    count, rows = trained(f"--nprocs {n} --mesh {mesh}")
    assert count == n
    for mine, theirs in zip(rows, alone, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
