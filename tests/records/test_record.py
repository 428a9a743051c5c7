import dataclasses
import json
import os
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import attn
from attn.config import Experiment, ModelConfig, fingerprint, to_json
from attn.errors import UserError
from attn.records import environment as env_module
from attn.records import files
from attn.records.environment import environment
from attn.records.folder import RunFolder
from attn.tasks import MQAR

EXPERIMENT = Experiment("recall", "Softmax recalls.", MQAR(), ModelConfig(num_heads=4))
ENV = {"versions": {"jax": "1"}}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open(EXPERIMENT, ENV)
    return run


def snapshot(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def with_heads(heads):
    model = dataclasses.replace(EXPERIMENT.model, num_heads=heads)
    return dataclasses.replace(EXPERIMENT, model=model)


def test_opening_writes_the_config_its_fingerprint_and_the_environment(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config.pop("fingerprint") == fingerprint(EXPERIMENT)
    assert config == json.loads(json.dumps(to_json(EXPERIMENT)))
    assert json.loads((run.path / "env.json").read_text()) == ENV
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "env.json"]
    assert run.checkpoints == run.path / "checkpoints"


def test_opening_again_changes_nothing(run):
    before = snapshot(run.path)
    run.open(EXPERIMENT, ENV)
    assert snapshot(run.path) == before


def test_a_claim_may_be_reworded(run):
    run.open(dataclasses.replace(EXPERIMENT, claim="other words"), ENV)
    assert json.loads((run.path / "config.json").read_text())["claim"] == "other words"


def test_a_run_that_moved_keeps_its_earlier_environments(run):
    for version in "2", "2", "3":
        run.open(EXPERIMENT, {"versions": {"jax": version}})
    env = json.loads((run.path / "env.json").read_text())
    assert env["versions"] == {"jax": "3"}
    assert [e["versions"]["jax"] for e in env["earlier"]] == ["1", "2"]


def test_another_experiment_is_refused_by_the_field_and_nothing_is_written(run):
    before = snapshot(run.path)
    heads = EXPERIMENT.model.num_heads
    message = (
        rf"run holds another experiment: model.num_heads is {heads} there and "
        rf"{2 * heads} here; choose another --workdir"
    )
    with pytest.raises(UserError, match=message):
        run.open(with_heads(2 * heads), ENV)
    assert snapshot(run.path) == before


def test_a_field_that_only_one_side_has_is_named(run):
    config = json.loads((run.path / "config.json").read_text())
    config["model"]["bygone"] = 7
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model.bygone is 7 there and absent here"):
        run.open(EXPERIMENT, ENV)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis.tex' and no config.json"):
        RunFolder(tmp_path).open(EXPERIMENT, ENV)
    with pytest.raises(UserError, match=r"thesis.tex is a file"):
        RunFolder(tmp_path / "thesis.tex").open(EXPERIMENT, ENV)
    assert snapshot(tmp_path) == {tmp_path / "thesis.tex": b"years of work"}


def test_an_empty_folder_and_one_killed_at_its_first_write_are_taken(tmp_path):
    (tmp_path / ".config.json.tmp").write_text('{"na')
    RunFolder(tmp_path).open(EXPERIMENT, ENV)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "env.json"]


def test_a_damaged_config_is_refused_by_name(run):
    (run.path / "config.json").write_text('{"name": ')
    with pytest.raises(UserError, match=r"config.json is damaged"):
        run.open(EXPERIMENT, ENV)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory"):
        RunFolder(tmp_path / "file" / "run").open(EXPERIMENT, ENV)


def test_a_full_disk_is_one_line_and_the_old_file_stays_whole(run, monkeypatch):
    before = snapshot(run.path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write to .*run: No space left on dev"):
        run.open(EXPERIMENT, {"versions": {}})
    with pytest.raises(UserError, match="No space left on device"):
        run.finish({})
    assert snapshot(run.path) == before


def test_metrics_come_back_in_order_with_arrays_as_lists_and_nan_as_null(run):
    run.append(1, {"loss": np.float32(0.5), "seeds": jnp.array([1.0, jnp.nan])})
    run.append(2, {"loss": float("inf"), "split": "valid"})
    assert run.history() == [
        {"step": 1, "loss": 0.5, "seeds": [1.0, None]},
        {"step": 2, "loss": None, "split": "valid"},
    ]


def test_a_new_run_has_no_history_and_no_result(run):
    assert run.history() == []
    assert run.result() is None
    assert not run.is_finished(EXPERIMENT)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_torn_by_a_kill_is_dropped_wherever_it_tore(run, cut):
    for step in 1, 2, 3:
        run.append(step, {})
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [row["step"] for row in run.history()] == [1, 2]
    run.truncate(3)
    run.append(3, {"again": True})
    assert run.history() == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_truncating_drops_what_came_after_a_step(run):
    run.truncate(5)
    assert not (run.path / "metrics.jsonl").exists()
    for step in 0, 1, 2, 2, 3:
        run.append(step, {"split": "train"})
    run.truncate(2)
    assert [row["step"] for row in run.history()] == [0, 1, 2, 2]
    run.truncate(-1)
    assert run.history() == []


def test_a_line_damaged_in_the_middle_is_named(run):
    for line in '{"st', "7", "{}", '{"step": null}':
        (run.path / "metrics.jsonl").write_text(
            f'{{"step": 1}}\n{line}\n{{"step": 3}}\n'
        )
        with pytest.raises(UserError, match=r"metrics.jsonl, line 2 is damaged"):
            run.history()


def test_a_run_is_finished_only_by_its_own_experiment_and_status_done(run):
    run.finish({"status": "stopped"})
    assert not run.is_finished(EXPERIMENT)
    run.finish({"accuracy": [0.5, float("nan")]})
    assert run.is_finished(EXPERIMENT)
    assert not run.is_finished(with_heads(EXPERIMENT.model.num_heads * 2))
    assert run.result() == {
        "status": "done",
        "fingerprint": fingerprint(EXPERIMENT),
        "accuracy": [0.5, None],
    }


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": [1]})
    assert path.read_text() == '{\n  "a": [\n    1\n  ],\n  "b": 1\n}\n'
    for bad in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises((ValueError, TypeError)):
            files.write_json(path, bad)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert files.read_json(path) == {"b": 1, "a": [1]}


def test_the_environment_names_versions_and_devices_but_no_path_or_host(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/home/me/dump --xla_foo=3")
    env = environment({"data": 2, "heads": 4})
    assert env["attn"] == attn.__version__
    assert env["python"].startswith(f"{sys.version_info.major}.")
    assert None not in (
        env[name] for name in ("jax", "flax", "optax", "orbax", "grain")
    )
    assert env["platform"] == "cpu"
    assert env["mesh"] == {"data": 2, "heads": 4}
    assert env["cores"] >= 1
    assert env["memory_bytes"] > 2**28
    assert env["xla_flags"] == "--xla_dump_to=<path> --xla_foo=3"
    text = json.dumps(env)
    assert os.uname().nodename not in text
    assert str(Path.home()) + "/" not in text
    assert str(Path(attn.__file__).parents[1]) not in text


def git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    env_module.subprocess.run(["git", "-C", folder, *names, *words], check=True)


def test_the_commit_is_of_the_checkout_itself_with_its_dirty_flag(tmp_path):
    nowhere = {"git_commit": None, "git_dirty": None}
    assert env_module._git(tmp_path) == nowhere
    git(tmp_path, "init", "-q")
    assert env_module._git(tmp_path) == nowhere
    (tmp_path / "a.py").write_text("")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "a")
    found = env_module._git(tmp_path)
    assert len(found["git_commit"]) == 40
    assert found["git_dirty"] is False
    (tmp_path / "a.py").write_text("1")
    assert env_module._git(tmp_path) == found | {"git_dirty": True}
    # A library installed inside somebody's checkout is not that checkout.
    (tmp_path / "venv").mkdir()
    assert env_module._git(tmp_path / "venv") == nowhere
