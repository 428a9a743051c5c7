import contextlib
import dataclasses
import json
import math
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import attn
from attn.config import Experiment, ModelConfig, fingerprint, to_json
from attn.errors import UserError
from attn.records import environment as env_module
from attn.records import files
from attn.records.environment import environment
from attn.records.folder import RunFolder
from attn.records.result import Layer, Line, Result
from attn.records.run import read_config, read_metrics, read_result, read_run
from attn.tasks import MQAR

EXPERIMENT = Experiment("recall", "Softmax recalls.", MQAR(), ModelConfig(num_heads=4))
ENV = {"versions": {"jax": "1"}}


@pytest.fixture
def folder_at():
    """`RunFolder`, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(path, **options):
            return stack.enter_context(contextlib.closing(RunFolder(path, **options)))

        yield make


@pytest.fixture
def run(folder_at, tmp_path):
    run = folder_at(tmp_path / "run")
    run.open(EXPERIMENT, ENV)
    return run


def snapshot(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock")


def with_heads(heads):
    model = dataclasses.replace(EXPERIMENT.model, num_heads=heads)
    return dataclasses.replace(EXPERIMENT, model=model)


def test_opening_writes_the_config_its_fingerprint_and_the_environment(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config.pop("fingerprint") == fingerprint(EXPERIMENT)
    assert config == json.loads(json.dumps(to_json(EXPERIMENT)))
    assert json.loads((run.path / "env.json").read_text()) == ENV
    assert names(run.path) == ["config.json", "env.json"]
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


def test_a_folder_of_something_else_is_refused_and_left_alone(folder_at, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis.tex' and no config.json"):
        folder_at(tmp_path).open(EXPERIMENT, ENV)
    with pytest.raises(UserError, match=r"thesis.tex is a file"):
        folder_at(tmp_path / "thesis.tex").open(EXPERIMENT, ENV)
    assert snapshot(tmp_path) == {tmp_path / "thesis.tex": b"years of work"}


def test_an_empty_folder_and_one_killed_at_its_first_write_are_taken(
    folder_at, tmp_path
):
    (tmp_path / ".config.json.tmp").write_text('{"na')
    folder_at(tmp_path).open(EXPERIMENT, ENV)
    assert names(tmp_path) == ["config.json", "env.json"]


def test_a_damaged_config_is_refused_by_name(run):
    (run.path / "config.json").write_text('{"name": ')
    with pytest.raises(UserError, match=r"config.json is damaged"):
        run.open(EXPERIMENT, ENV)


def test_a_folder_that_cannot_be_written_is_named(folder_at, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory"):
        folder_at(tmp_path / "file" / "run").open(EXPERIMENT, ENV)


def test_a_full_disk_is_one_line_and_the_old_file_stays_whole(run, monkeypatch):
    before = snapshot(run.path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write to .*run: No space left on dev"):
        run.open(EXPERIMENT, {"versions": {}})
    with pytest.raises(UserError, match="No space left on device"):
        run.finish(Result(status="done"))
    assert snapshot(run.path) == before


def test_metrics_come_back_in_order_with_arrays_as_lists_and_nan_as_null(run):
    lines = Line(1, (0.5, math.nan), step_ms=2.0), Line(2, valid={"accuracy": (0.5,)})
    for line in lines:
        run.append(line)
    written = (run.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(written[0])["train_loss"] == [0.5, None]
    first, second = read_metrics(run.path)
    assert math.isnan(first.train_loss[1])
    assert (first.step, first.step_ms, second) == (1, 2.0, lines[1])


def test_a_new_run_has_no_history_and_no_result(run):
    assert read_metrics(run.path) == ()
    assert run.finished(EXPERIMENT) is None


HISTORY = tuple(Line(step, (1.0 / step,)) for step in (1, 2, 3))


@pytest.mark.parametrize("damage", [b"", b"7\n", None, -1, -30, -60])
def test_lost_emptied_or_cut_metrics_come_back_from_a_checkpoint_and_are_told(
    folder_at, tmp_path, damage
):
    said = []
    run = folder_at(tmp_path, say=said.append)
    run.open(EXPERIMENT, ENV)
    path = tmp_path / "metrics.jsonl"
    for line in HISTORY:
        run.append(line)
    whole = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(whole[:damage] if isinstance(damage, int) else damage)
    run.continue_from(HISTORY)
    assert path.read_bytes() == whole
    assert "metrics.jsonl was damaged; its 3 lines come back" in said[0]


def test_lines_after_the_checkpoint_are_dropped_and_nothing_is_said(
    folder_at, tmp_path
):
    said = []
    run = folder_at(tmp_path, say=said.append)
    run.open(EXPERIMENT, ENV)
    for line in HISTORY:
        run.append(line)
    run.continue_from(HISTORY[:2])
    run.append(HISTORY[2])
    assert read_metrics(tmp_path) == tuple(run.history) == HISTORY
    run.continue_from(())
    assert read_metrics(tmp_path) == ()
    assert said == []


def test_a_line_damaged_in_the_middle_is_named(run):
    for line in '{"st', "7", "{}", '{"step": null}', '{"step": "2"}':
        (run.path / "metrics.jsonl").write_text(
            f'{{"step": 1}}\n{line}\n{{"step": 3}}\n'
        )
        with pytest.raises(UserError, match=r"metrics.jsonl line 2 "):
            read_metrics(run.path)


SCORES = {"accuracy": (0.5, math.nan)}
DONE = Result(
    status="done",
    valid=SCORES,
    test=SCORES,
    layers={"layer_0": Layer("softmax", "dense")},
    steps=1,
)


def end(run, result=DONE):
    run.append(Line(1, (1.0,)))
    run.write_maps({"labels": np.array(["a"]), "layer_0": np.ones((1, 1, 1))})
    return run.finish(result)


def test_a_run_is_finished_only_by_its_own_experiment_and_status_done(run):
    end(run, dataclasses.replace(DONE, status="failed", test=None))
    assert run.finished(EXPERIMENT) is None
    run.continue_from(())
    ended = end(run)
    assert ended.fingerprint == fingerprint(EXPERIMENT)
    assert repr(run.finished(EXPERIMENT)) == repr(ended)
    assert run.finished(with_heads(EXPERIMENT.model.num_heads * 2)) is None


def test_a_result_comes_back_as_it_was_with_nan_where_a_seed_diverged(run):
    ended = end(run)
    back, sealed = read_result(run.path)
    assert sealed
    assert repr(back) == repr(ended)  # NaN is not equal to itself
    assert math.isnan(back.test["accuracy"][1])
    assert math.isnan(read_run(run.path).score.mean)
    assert sorted(back.seal) == ["config.json", "env.json", "maps.npz", "metrics.jsonl"]


@pytest.mark.parametrize(
    "name", ["config.json", "env.json", "metrics.jsonl", "result.json"]
)
@pytest.mark.parametrize("damage", ["digit", "lost", "folder"])
def test_a_changed_or_lost_file_is_named_and_the_run_is_made_again(run, name, damage):
    end(run)
    path = run.path / name
    if damage == "digit":  # still good JSON: one digit of a number is another
        text = path.read_text()
        at = next(i for i in reversed(range(len(text))) if text[i] in "123456789")
        path.write_text(f"{text[:at]}0{text[at + 1 :]}")
    else:
        path.unlink()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=rf"{name} .*(damaged|missing|cannot be read)"):
        read_run(run.path)
    assert run.finished(EXPERIMENT) is None


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", lambda run: read_config(run.path)),
        ("metrics.jsonl", lambda run: read_metrics(run.path)),
        ("metrics.jsonl", lambda run: run.continue_from(())),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_path_and_the_reason(
    run, name, read
):
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).mkdir()
    said = rf"run/{name} cannot be read \(Is a directory\); make it a file that can"
    with pytest.raises(UserError, match=said):
        read(run)


def test_opening_takes_back_a_result_that_no_longer_holds(run):
    end(run, dataclasses.replace(DONE, status="failed", test=None))
    run.open(EXPERIMENT, ENV)
    assert not (run.path / "result.json").exists()


def test_only_the_first_process_writes(folder_at, tmp_path):
    other = folder_at(tmp_path / "run", writes=False)
    other.open(EXPERIMENT, ENV)
    end(other)
    other.continue_from(HISTORY)
    assert list(tmp_path.iterdir()) == []
    assert other.history == list(HISTORY)
    folder_at(tmp_path / "run").open(EXPERIMENT, ENV)
    with pytest.raises(UserError, match="holds another experiment"):
        other.open(with_heads(2), ENV)


def test_how_often_a_run_is_saved_makes_no_other_experiment(run):
    train = dataclasses.replace(EXPERIMENT.train, save_every=7)
    run.open(dataclasses.replace(EXPERIMENT, train=train, claim="Other words."), ENV)
    train = dataclasses.replace(train, batch_size=7)
    with pytest.raises(UserError, match=r"train\.batch_size is 64 there and 7 here"):
        run.open(dataclasses.replace(EXPERIMENT, train=train), ENV)


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
    jax.devices()  # XLA reads its flags once, and ends a process over one it knows not
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/home/me/dump --xla_foo=3")
    env = environment({"data": 2, "heads": 4, "seq": 1, "fsdp": 1})
    assert env["attn"] == attn.__version__
    assert env["python"].startswith(f"{sys.version_info.major}.")
    assert None not in (
        env[name] for name in ("jax", "flax", "optax", "orbax", "grain")
    )
    assert env["platform"] == "cpu"
    assert env["mesh"] == {"data": 2, "heads": 4, "seq": 1, "fsdp": 1}
    assert env["cores"] >= 1
    assert env["memory_bytes"] > 2**28
    assert env["xla_flags"] == "--xla_dump_to=<path> --xla_foo=3"
    assert env["matmul_precision"] == "default"
    with jax.default_matmul_precision("highest"):
        assert environment({})["matmul_precision"] == "highest"
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
