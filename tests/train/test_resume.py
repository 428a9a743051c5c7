"""What a run measured outlives kills, lost files and another command; nothing is misread."""

import json
import os
import shutil
from dataclasses import replace

import jax
import pytest
from jax.sharding import PartitionSpec as P
from states import assert_same_bits
from test_loop import EXPERIMENT, Watching, lines_of, terminate, train
from tiny import exhaustive, place

from attn import records
from attn.config import TrainConfig
from attn.data.build import prepare
from attn.errors import UserError
from attn.parallel.mesh import make_mesh
from attn.records.run import read_maps
from attn.train.calls import CallEnds
from attn.train.signals import Stopped


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, result and state."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, *train(folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that a signal stopped after step 9."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(Stopped):
        train(folder, Watching(9, terminate))
    return folder


@pytest.fixture
def ended(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "ended")


@pytest.fixture
def cut(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "cut")


def saving_every(steps):
    return replace(EXPERIMENT, train=replace(EXPERIMENT.train, save_every=steps))


def test_a_folder_gives_back_the_experiment_its_result_and_its_metrics(whole):
    folder, result, _ = whole
    run = records.load(folder)
    assert (run.experiment, run.result, run.sealed) == (EXPERIMENT, result, True)
    assert run.environment["mesh"] == {"data": 1, "heads": 1, "seq": 1, "fsdp": 1}
    assert [line.step for line in run.metrics] == [3, 6, 9, 12]
    assert read_maps(run).layers["layer_0"].shape == (2, 16, 16)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_folder_gives_back_the_model_that_scored_what_the_result_says(whole, seed):
    folder, result, _ = whole
    task = records.load(folder).experiment.task
    rows = place(dict(prepare(task).splits["test"]), make_mesh(), P("data"))
    with jax.set_mesh(make_mesh()):
        model = records.restore(folder, seed=seed)
        scores = task.objective.metrics(
            jax.jit(lambda rows: task.objective.sums(model, rows))(rows)
        )
    for name, values in result.test.items():
        assert scores[name] == pytest.approx(values[seed], rel=1e-5), name


def test_weights_that_are_not_there_are_not_guessed(ended, cut):
    with pytest.raises(UserError, match=r"seed = 2; .* trained the seeds 0, 1"):
        records.restore(ended, seed=2)
    shutil.rmtree(ended / "checkpoints" / "12")
    with pytest.raises(
        UserError, match=r"ended at step 12, .* checkpoint is of step 9"
    ):
        records.restore(ended)
    shutil.rmtree(ended / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint"):
        records.restore(ended)
    assert records.restore(cut) is not None  # not finished: the newest there is


def test_another_save_every_goes_on_to_the_same_bits(whole, cut):
    _, state = train(cut, experiment=saving_every(5))
    assert_same_bits(state, whole[2])
    assert lines_of(cut) == lines_of(whole[0])
    assert records.load(cut).experiment == saving_every(5)


def test_save_every_changes_no_bit(whole, tmp_path):
    result, state = train(tmp_path / "run", experiment=saving_every(1))
    assert_same_bits(state, whole[2])
    assert lines_of(tmp_path / "run") == lines_of(whole[0])
    assert result.fingerprint == whole[1].fingerprint


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", None),
        ("metrics.jsonl", b'{"step": 3'),
        exhaustive("config.json", b""),
        exhaustive("config.json", b'{"step": 3'),
        exhaustive("metrics.jsonl", None),
        exhaustive("metrics.jsonl", b""),
    ],
)
def test_a_lost_or_cut_file_of_an_interrupted_run_costs_nothing(
    whole, cut, name, damage
):
    path = cut / name
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    watcher = Watching()
    result, _ = train(cut, watcher)
    assert "resumed after step 9" in watcher.notes
    assert any(name in note for note in watcher.notes) == (name == "metrics.jsonl")
    assert lines_of(cut) == lines_of(whole[0])
    assert result.test == whole[1].test
    assert records.load(cut).experiment == EXPERIMENT


def test_without_its_config_a_folder_is_still_no_other_experiments(cut):
    (cut / "config.json").unlink()
    other = replace(EXPERIMENT, train=replace(EXPERIMENT.train, peak_lr=0.5))
    with pytest.raises(UserError, match=r"train\.peak_lr is 0\.01 there and 0\.5 here"):
        train(cut, experiment=other)
    assert not (cut / "config.json").exists()


def test_checkpoints_of_another_experiment_are_refused_by_its_field(cut, tmp_path):
    other = replace(EXPERIMENT, train=replace(EXPERIMENT.train, peak_lr=0.5))
    config = json.loads((cut / "config.json").read_text())
    config["train"]["peak_lr"] = 0.5
    (cut / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"checkpoint 9 in .*train\.peak_lr is 0\.01"):
        train(cut, experiment=other)


def test_measurements_survive_a_kill_between_the_last_checkpoint_and_the_result(
    whole, ended
):
    (ended / "result.json").unlink()
    watcher = Watching()
    result, _ = train(ended, watcher)
    assert watcher.steps == []
    before = whole[1]
    for name in ("temp_bytes", "step_ms", "host_ms", "layers", "test", "steps"):
        assert getattr(result, name) == getattr(before, name), name
    assert result.compile_seconds == before.compile_seconds > 0
    assert result.wall_seconds > max(
        line.seconds for line in records.load(ended).metrics
    )


@pytest.mark.parametrize(
    "name", ["maps.npz", exhaustive("metrics.jsonl"), "result.json"]
)
def test_a_damaged_file_of_a_finished_run_is_made_again(whole, ended, name):
    path = ended / name
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    result, _ = train(ended)
    assert result.test == whole[1].test
    assert records.load(ended).sealed
    if name != "result.json":
        assert path.read_bytes() == before


def test_damaged_maps_without_a_checkpoint_cost_no_training(ended):
    (ended / "maps.npz").write_bytes(b"PK")
    shutil.rmtree(ended / "checkpoints")
    watcher = Watching()
    train(ended, watcher)
    assert watcher.notes == ["finished before; nothing to do"]


def test_two_runs_at_once_in_one_folder_are_one_and_a_refusal(tmp_path, whole):
    refused = []

    def second():
        before = lines_of(tmp_path / "run")
        with pytest.raises(UserError, match=r"another process .* is writing to") as e:
            train(tmp_path / "run")
        refused.append(str(e.value))
        assert lines_of(tmp_path / "run") == before

    train(tmp_path / "run", Watching(6, second))
    assert len(refused) == 1
    assert str(os.getpid()) in refused[0]
    assert lines_of(tmp_path / "run") == lines_of(whole[0])


def test_a_run_that_fails_says_so_in_its_folder_and_lets_it_go(tmp_path):
    def broken():
        raise ZeroDivisionError("a bug\nof two lines")

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", Watching(6, broken))
    run = records.load(tmp_path / "run")
    assert run.failed
    assert run.result.error == "ZeroDivisionError: a bug"
    assert run.result.temp_bytes > 0
    assert run.result.baselines
    train(tmp_path / "run")
    assert not records.load(tmp_path / "run").failed


def test_a_stop_within_the_first_call_of_a_longer_run_keeps_its_steps():
    calls = CallEnds(TrainConfig(steps=30, eval_every=100))
    assert calls.since(20, begun=0)[0] == range(20, 25)  # the run ended at 20 before
    assert calls.since(22, begun=2)[0] == range(20, 25)  # and was stopped at 22
    assert calls.since(22, begun=22)[0] == range(25)
