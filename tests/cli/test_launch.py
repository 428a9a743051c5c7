"""The command line, as a user runs it: through a shell."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import launch as door
from attn import compiler

ROOT = Path(__file__).parents[2]
TINY = (
    "--model.d-model 16 --train.steps 60 --train.warmup-steps 2 --train.eval-every 10 "
    "--train.save-every 10 --train.batch-size 8 --task.num-train 64 --task.num-valid 16 "
    "--task.num-test 16 --task.vocab-size 32 --task.seq-len 32 --seeds 2"
).split()


RUN = ("run", "recall_linear", *TINY)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def launch(data_dir):
    """Runs `launch.py` in the checkout, its data in a folder of the tests."""

    def start(*words, data=data_dir, background=False):
        # A fault of the compiler is for `launch.py` itself to work around.
        flags = os.environ["XLA_FLAGS"].replace(compiler.FLAG, "")
        env = os.environ | {
            "ATTN_DATA_DIR": str(data),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": flags,
        }
        command = [sys.executable, str(ROOT / "launch.py"), *map(str, words)]
        kwargs = {"cwd": ROOT, "env": env, "text": True}
        if background:
            pipe = subprocess.PIPE
            return subprocess.Popen(command, stdout=pipe, stderr=pipe, **kwargs)
        return subprocess.run(command, capture_output=True, timeout=250, **kwargs)

    return start


@pytest.fixture(scope="module")
def whole(launch, tmp_path_factory):
    """The folder of a finished run, to be read alone."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = launch(*RUN, "--workdir", folder)
    assert done.returncode == 0, done.stderr
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def losses(folder: Path) -> list:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["step"], row["train_loss"], row.get("valid")) for row in rows]


@pytest.mark.slow
def test_a_shell_is_given_the_list(launch):
    items = json.loads(launch("list", "--json").stdout)
    assert {"families", "heads", "recall_softmax"} <= {item["name"] for item in items}
    assert all(item["claim"] for item in items)


def test_list_show_and_help_answer_from_configs_alone(capsys):
    def said(words):
        assert door.main(words.split()) == 0
        return capsys.readouterr().out

    (shown,) = json.loads(said("show recall_window --model.num-heads 4 --json"))
    assert shown["model"]["num_heads"] == 4
    assert shown["params"] == 53632
    assert "recall_window" in said("list --all")
    assert "compare" in said("--help")
    with pytest.raises(SystemExit, match=r"^0$"):
        door.main(["run", "recall_window", "--help"])
    assert "--model.num-heads" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(launch, whole, tmp_path):
    cut = tmp_path / "cut"
    process = launch(*RUN, "--workdir", cut, background=True)
    metrics = cut / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "goes on" in said
    assert not (cut / "result.json").exists()

    assert launch(*RUN, "--workdir", cut).returncode == 0
    assert losses(cut) == losses(whole)
    assert result(cut)["test"] == result(whole)["test"]


@pytest.mark.exhaustive
def test_a_folder_of_another_config_is_refused_and_left_alone(launch, whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    done = launch(*RUN, "--model.num-heads", 4, "--workdir", whole)
    assert done.returncode == 2
    assert "model.num_heads is 2 there and 4 here" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


@pytest.mark.exhaustive
def test_damaged_data_is_named_and_nothing_is_written(
    launch, whole, data_dir, tmp_path
):
    data = shutil.copytree(data_dir, tmp_path / "data")
    (record,) = data.rglob("*test.array_record*")
    damaged = bytearray(record.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    record.write_bytes(damaged)
    done = launch(*RUN, "--workdir", tmp_path / "bad", data=data)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "delete that folder and run again" in done.stderr
    assert not (tmp_path / "bad").exists()


@pytest.mark.exhaustive
def test_a_mesh_changes_where_a_run_runs_and_not_what_it_finds(launch, whole, tmp_path):
    done = launch(*RUN, "--workdir", tmp_path / "four", "--mesh", "data=2,heads=2")
    assert done.returncode == 0, done.stderr
    for (step, loss, _), (step2, loss2, _) in zip(
        losses(whole), losses(tmp_path / "four"), strict=True
    ):
        assert step == step2
        assert loss2 == pytest.approx(loss, abs=1e-5)
    assert (tmp_path / "four" / "report.html").exists()
