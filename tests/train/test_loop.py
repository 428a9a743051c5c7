"""A run is the same bits however it was interrupted, and its result is true."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from states import assert_same_bits
from tiny import RECALL, TRAIN, exhaustive, experiment_of, largest_gap, place

from attn.config import fingerprint
from attn.config.cost import count_params, decode_state, train_flops
from attn.data.build import prepare
from attn.parallel.mesh import MeshShape, make_mesh
from attn.records.result import Layer, Mechanism
from attn.records.run import read_metrics, read_result
from attn.train import calls, loop, timing
from attn.train.checkpoint.sealed import SealedSteps
from attn.train.diverged import Diverged
from attn.train.run import run
from attn.train.signals import Stopped, StopSignal
from attn.train.timing import Timing

EXPERIMENT = experiment_of(seeds=2)


class Watching:
    """Keeps what it hears; `at` a step it does something."""

    def __init__(self, at=None, then=None):
        self.notes, self.steps, self.slices = [], [], []
        self.at, self.then = at, then

    def begin(self, name, steps):
        pass

    def note(self, text):
        self.notes.append(text)

    def end(self, result, seconds):
        pass

    def within(self, step, steps):
        self.slices.append(step)
        if step == self.at:
            self.then()

    def advance(self, step, steps, values):
        self.steps.append(step)
        if step == self.at:
            self.then()


def train(folder, watcher=None, mesh=MeshShape(), experiment=EXPERIMENT):
    """The result, and the state that the run ended with."""
    ended = []
    close = loop.Training.close

    def closing(self):
        ended.append(self.state)
        close(self)

    with pytest.MonkeyPatch.context() as patch, StopSignal() as stop:
        patch.setattr(loop.Training, "close", closing)
        patch.setattr(calls, "CALL_STEPS", 3)
        result = run(
            experiment,
            folder,
            watcher=watcher or Watching(),
            stop=stop,
            mesh_shape=mesh,
        )
    return result, vars(ended[0]) if ended else None


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def lines_of(folder):
    """The metrics of a run without its times."""
    return [replace(line, step_ms=None, seconds=None) for line in read_metrics(folder)]


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, result, state and watcher."""
    folder, watcher = tmp_path_factory.mktemp("runs") / "whole", Watching()
    result, state = train(folder, watcher)
    return folder, result, state, watcher


def test_the_loss_falls_and_every_call_is_told(whole):
    folder, _, _, watcher = whole
    rows = lines_of(folder)
    assert [row.step for row in rows] == watcher.steps == [3, 6, 9, 12]
    assert [row.step for row in rows if row.valid] == [6, 12]
    assert np.less(rows[-1].train_loss, rows[0].train_loss).all()


def test_the_result_says_what_was_run(whole):
    folder, result, _, _ = whole
    assert result.status == "done"
    assert result.fingerprint == fingerprint(EXPERIMENT)
    assert result.params == count_params(EXPERIMENT)
    assert result.train_flops_per_step == train_flops(EXPERIMENT)
    assert result.state_bytes == decode_state(EXPERIMENT)
    assert result.kernel == Mechanism("softmax", "dense", 17 / 32, True)
    assert set(result.layers.values()) == {Layer("softmax", "dense")}
    assert result.steps == 12
    assert result.baselines["chance_of_all_values"] == 1 / 8
    assert len(result.test["accuracy"]) == 2
    assert min(result.step_ms, result.compile_seconds, result.temp_bytes) > 0
    with np.load(folder / "maps.npz") as maps:
        assert maps["layer_0"].shape == (2, 16, 16)
        np.testing.assert_allclose(maps["layer_0"].astype(float).sum(-1), 1, atol=1e-2)
        assert not np.triu(maps["layer_0"], 1).any()


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_score_is_the_mean_over_each_row_once(whole, split):
    _, result, state, _ = whole
    scores = getattr(result, split)
    rows = prepare(RECALL).splits[split]
    with jax.set_mesh(make_mesh()):
        model = loop.model_def(EXPERIMENT)
        rows = place(dict(rows), make_mesh(), P("data"))
        params = jax.tree.map(lambda x: x[1], state["params"])
        logits_of = EXPERIMENT.task.objective.logits
        logits = np.asarray(
            jax.jit(lambda p, b: logits_of(model.merge(p, {}), b))(params, rows)
        )
    rows = {key: np.asarray(array) for key, array in rows.items()}
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_p, rows["targets"][..., None], axis=-1)
    assert scores["loss"][1] == pytest.approx(-chosen.mean(), rel=1e-5)
    hits = (logits.argmax(axis=-1) == rows["targets"]).mean()
    assert scores["accuracy"][1] == pytest.approx(hits, rel=1e-6)


def test_a_finished_run_is_not_repeated(whole):
    folder, result, _, _ = whole
    watcher = Watching()
    again, state = train(folder, watcher)
    assert state is None
    assert watcher.notes == ["finished before; nothing to do"]
    assert again == result


# A signal comes while step 3 (an ordinary call), 6 (a save) or 9 (the last but one)
# is told, and is obeyed at the end of the call under way.
@pytest.mark.parametrize("at", [3, exhaustive(6), exhaustive(9)])
def test_a_stopped_run_goes_on_to_the_same_bits(whole, tmp_path, at):
    with pytest.raises(Stopped, match="SIGTERM"):
        train(tmp_path / "run", Watching(at, terminate))
    assert not (tmp_path / "run" / "result.json").exists()
    watcher = Watching()
    result, state = train(tmp_path / "run", watcher)
    after = {3: 6, 6: 6, 9: 9}[at]
    assert f"resumed after step {after}" in watcher.notes
    assert_same_bits(state, whole[2])
    assert lines_of(tmp_path / "run") == lines_of(whole[0])
    assert result.test == whole[1].test


# Of calls of 3 steps, each step is a slice of its own.
@pytest.mark.parametrize("at", [exhaustive(1), 5, exhaustive(8)])
def test_a_slow_call_is_stopped_within_and_goes_on_to_the_same_bits(
    whole, tmp_path, monkeypatch, at
):
    monkeypatch.setattr(timing, "SLICE_SECONDS", 0.0)
    watcher = Watching(at, terminate)
    with pytest.raises(Stopped, match="SIGTERM"):
        train(tmp_path / "run", watcher)
    assert watcher.slices == [step for step in range(1, at + 1) if step % 3]
    kept = (tmp_path / "run/checkpoints").glob("[0-9]*")
    assert max(int(path.name) for path in kept) == at
    _, state = train(tmp_path / "run")
    assert_same_bits(state, whole[2])
    assert lines_of(tmp_path / "run") == lines_of(whole[0])


def test_a_signal_before_another_program_is_compiled_loses_no_step(tmp_path):
    steps = replace(TRAIN, steps=10, eval_every=4, save_every=100)
    experiment = replace(EXPERIMENT, train=steps)
    with pytest.raises(Stopped, match="SIGTERM"):
        train(tmp_path / "run", Watching(8, terminate), experiment=experiment)
    kept = (tmp_path / "run/checkpoints").glob("[0-9]*")
    assert max(int(path.name) for path in kept) == 8


def test_a_compilation_begins_when_all_before_it_is_on_disk(tmp_path, monkeypatch):
    checkpoints, kept = tmp_path / "run/checkpoints", []

    class Compiles(loop.Programs):
        def _compile(self, *args):
            names = (path.name for path in checkpoints.glob("[0-9]*"))
            kept.append({int(name) for name in names if name.isdecimal()})
            return super()._compile(*args)

    def seal(self, *args, seal=SealedSteps.seal):
        time.sleep(0.5)  # a slow disk
        seal(self, *args)

    monkeypatch.setattr(loop, "Programs", Compiles)
    monkeypatch.setattr(SealedSteps, "seal", seal)
    steps = replace(TRAIN, steps=10, eval_every=4, save_every=100)
    train(tmp_path / "run", experiment=replace(EXPERIMENT, train=steps))
    assert kept == [set(), {3}, {3, 8}]  # as calls of 3, 1 and 2 steps come


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_steps_and_no_bits(whole, tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path / "run", Watching(9, terminate))
    newest = max(
        (tmp_path / "run/checkpoints").glob("[0-9]*"), key=lambda p: int(p.name)
    )
    largest = max((newest / "state").rglob("*"), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    watcher = Watching()
    _, state = train(tmp_path / "run", watcher)
    assert f"checkpoint {newest.name} passed over" in " ".join(watcher.notes)
    assert_same_bits(state, whole[2])
    assert lines_of(tmp_path / "run") == lines_of(whole[0])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_goes_on_over_another_mesh(whole, tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path / "run", Watching(3, terminate))
    _, state = train(tmp_path / "run", mesh=MeshShape(4, 2))
    assert state["params"]["layers/0/layer/q"].sharding.mesh.size == 8
    assert largest_gap(state["params"], whole[2]["params"]) < 1e-5


# Step 2 is a call of its own, or within one of three steps.
@pytest.mark.parametrize("length, ended, kept", [(1, 2, ["1"]), (3, 3, [])])
def test_a_run_that_diverges_says_where_and_keeps_no_such_checkpoint(
    tmp_path, length, ended, kept
):
    often = {"save_every": 1, "eval_every": length}
    diverging = replace(TRAIN, peak_lr=1e30, warmup_steps=0, **often)
    experiment = replace(EXPERIMENT, train=diverging)
    with pytest.raises(
        Diverged, match=r"step 2 of seed 0 was not finite: loss .*1e\+30"
    ):
        train(tmp_path / "run", experiment=experiment)
    result, _ = read_result(tmp_path / "run")
    assert (result.status, result.steps) == ("failed", ended)
    assert "step 2 of seed 0" in result.error
    assert [p.name for p in (tmp_path / "run/checkpoints").glob("[0-9]*")] == kept
    assert [line.step for line in read_metrics(tmp_path / "run")] == [*map(int, kept)]


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import conftest, test_loop
test_loop.train(test_loop.Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("steps", [("9",), ("6", "9")], ids=" ".join)
def test_a_killed_run_goes_on_to_the_same_bits(whole, tmp_path, steps):
    tests = Path(__file__).parents[1]
    paths = [str(tests.parent), str(tests), str(tests / "train")]
    command = [sys.executable, "-c", SCRIPT.format(paths=paths), str(tmp_path / "run")]
    checkpoints, kills = tmp_path / "run/checkpoints", 0
    for wanted in steps:
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while child.poll() is None and not list(checkpoints.glob(f"{wanted}*")):
            time.sleep(0.002)
        kills += child.poll() is None
        child.kill()
        child.wait()
    assert kills
    _, state = train(tmp_path / "run")
    assert_same_bits(state, whole[2])
    assert lines_of(tmp_path / "run") == lines_of(whole[0])


def test_signals_are_handed_back_and_a_second_interrupt_kills(request):
    # Whatever runs the tests may have a handler of its own.
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, found))
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with StopSignal() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="SIGINT"):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_times_leave_out_compilation_and_what_stands_between_calls(monkeypatch):
    clock = [0.0]

    def tick(seconds):
        clock[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    timing = Timing(replicas=2)
    with timing.host(4):
        tick(0.008)
    with timing.compiling():
        tick(5)
    tick(0.080)
    timing.finished(4)  # 80 ms for 4 steps of 2 replicas
    tick(3)  # a look at the validation split
    with timing.host(4):
        tick(0.004)
    tick(0.040)
    with timing.host(4):  # handed over while the one before runs
        tick(0.012)
    tick(0.028)
    timing.finished(4)
    tick(0.048)
    timing.finished(4)
    summary = timing.summary()
    assert summary["step_ms"] == pytest.approx(10.0)
    assert timing.last_step_ms == pytest.approx(6.0)
    assert summary["host_ms"] == pytest.approx(2.0)
    assert summary["compile_seconds"] == 5
    assert math.isclose(summary["wall_seconds"], clock[0])
