"""The command line, as a user runs it: through a shell."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "--model.d-model 16 --train.steps 20 --train.warmup-steps 2 --train.eval-every 10 "
    "--train.save-every 10 --train.batch-size 8 --task.num-train 64 --task.num-valid 16 "
    "--task.num-test 16 --task.vocab-size 32 --task.seq-len 32 --seeds 2"
).split()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def launch(tmp_path, data_dir):
    """Runs `launch.py` in the checkout, its data in a folder of the tests."""

    def start(*words, background=False):
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        env |= {"ATTN_DATA_DIR": str(data_dir), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, str(ROOT / "launch.py"), *map(str, words)]
        kwargs = {"cwd": ROOT, "env": env, "text": True}
        if background:
            pipe = subprocess.PIPE
            return subprocess.Popen(command, stdout=pipe, stderr=pipe, **kwargs)
        return subprocess.run(command, capture_output=True, timeout=250, **kwargs)

    return start


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def losses(folder: Path) -> list:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["step"], row["train_loss"], row.get("valid")) for row in rows]


@pytest.mark.slow
def test_list_and_show_answer_from_configs_alone(launch):
    items = json.loads(launch("list", "--json").stdout)
    assert {"families", "heads", "recall_softmax"} <= {item["name"] for item in items}
    assert all(item["claim"] for item in items)
    shown = json.loads(
        launch("show", "recall_window", "--model.num-heads", 4, "--json").stdout
    )
    assert shown[0]["model"]["num_heads"] == 4
    assert shown[0]["params"] == 53632
    assert "recall_window" in launch("list", "--all").stdout
    assert "compare" in launch("--help").stdout
    assert "--model.num-heads" in launch("run", "recall_window", "--help").stdout


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(launch, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ("run", "recall_linear", *TINY, "--train.steps", 60)
    assert launch(*words, "--workdir", whole).returncode == 0

    process = launch(*words, "--workdir", cut, background=True)
    metrics = cut / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "goes on" in said
    assert not (cut / "result.json").exists()

    assert launch(*words, "--workdir", cut).returncode == 0
    assert losses(cut) == losses(whole)
    assert result(cut)["test"] == result(whole)["test"]


@pytest.mark.slow
def test_a_folder_of_another_config_is_refused_and_left_alone(launch, tmp_path):
    folder = tmp_path / "run"
    assert launch("run", "recall_linear", *TINY, "--workdir", folder).returncode == 0
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = launch(
        "run", "recall_linear", *TINY, "--model.num-heads", 4, "--workdir", folder
    )
    assert done.returncode == 2
    assert "model.num_heads is 2 there and 4 here" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.slow
def test_damaged_data_is_named_and_nothing_is_written(launch, tmp_path, data_dir):
    words = ("run", "recall_linear", *TINY, "--task.data-seed", 7)
    assert launch(*words, "--workdir", tmp_path / "good").returncode == 0
    (record,) = data_dir.rglob("*data_seed-7*/**/*test.array_record*")
    damaged = bytearray(record.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    record.write_bytes(damaged)
    done = launch(*words, "--workdir", tmp_path / "bad")
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "delete that folder and run again" in done.stderr
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
def test_a_sweep_skips_what_is_finished_and_outlives_a_failure(launch, tmp_path):
    grid = "train.peak_lr=0.003,1e30 train.steps=26 model.d_model=16 task.num_train=64"
    over = [word for axis in grid.split() for word in ("--over", axis)]
    words = ("sweep", "recall_linear", "--seeds", 2, *over, "--workdir", tmp_path)
    first = launch(*words)
    assert first.returncode == 1
    assert "was not finite" in first.stderr
    good, bad = (
        tmp_path / f"recall_linear-peak_lr={lr}-steps=26-d_model=16-num_train=64"
        for lr in ("0.003", "1e+30")
    )
    assert result(good)["status"] == "done"
    assert result(bad)["status"] == "failed"
    assert "failed" in (tmp_path / "table.md").read_text()
    stamp = (good / "result.json").stat().st_mtime_ns
    assert "nothing to do" in launch(*words).stdout
    assert (good / "result.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_mesh_changes_where_a_run_runs_and_not_what_it_finds(launch, tmp_path):
    words = ("run", "recall_linear", *TINY)
    assert launch(*words, "--workdir", tmp_path / "one").returncode == 0
    done = launch(*words, "--workdir", tmp_path / "four", "--mesh", "data=2,heads=2")
    assert done.returncode == 0, done.stderr
    for (step, loss, _), (step2, loss2, _) in zip(
        losses(tmp_path / "one"), losses(tmp_path / "four")
    ):
        assert step == step2
        assert loss2 == pytest.approx(loss, abs=1e-5)
    assert (tmp_path / "four" / "report.html").exists()
