"""The training loop, from start to end: data, steps, validation, result.

The loop dispatches a call of several steps, and reads the metrics of the previous call
while it runs. Checkpoints, signals and values that are not finite are handled between
calls. The ends of calls follow from the config alone, so an interrupted run continues
with the calls, and to the bits, of one that was not.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.attention.choose import recording
from attn.config import Experiment
from attn.data.build import prepare
from attn.data.pipeline import Batches, cut_steps
from attn.errors import UserError
from attn.parallel.mesh import MeshShape, make_mesh
from attn.records.describe import describe, with_data
from attn.records.environment import environment
from attn.records.folder import RunFolder, written
from attn.records.result import Layer, Line, Measured, Result, Scores, Tuning
from attn.records.typed import decode, encode
from attn.tasks.base import Dataset
from attn.train.checkpoint.restore import checkpoints_of, restore_state
from attn.train.evaluate import Evaluator
from attn.train.maps import make_maps
from attn.train.signals import Stopped, StopSignal
from attn.train.state import State, init_state, model_def
from attn.train.step import Metrics, make_train_step
from attn.train.timing import Timing

CALL_STEPS = 25
"""The maximum number of steps dispatched to the device at once."""


class Diverged(RuntimeError):
    """A loss or gradient is not finite; its step changed no parameter."""


@runtime_checkable
class Watcher(Protocol):
    """A progress display of runs."""

    def begin(self, name: str, steps: int) -> None:
        """Starts the display of a run of `steps`; the previous one has ended."""

    def note(self, text: str) -> None:
        """Prints one line."""

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """Reports that `step` of `steps` are done, with a line of `metrics.jsonl`."""

    def end(self, result: Result, seconds: float) -> None:
        """Reports the result of a run that has ended, after these seconds."""


def run(
    experiment: Experiment,
    workdir: Path,
    *,
    watcher: Watcher,
    stop: StopSignal,
    mesh_shape: MeshShape = MeshShape(),
    study: str | None = None,
    tuning: Tuning | None = None,
    data: Dataset | None = None,
) -> Result:
    """Trains all seeds of `experiment` together; returns the content of `result.json`.

    A run that has ended is not repeated; one that was interrupted goes on from its
    newest good checkpoint, to the same bits.

    Raises:
        UserError: the request or the machine does not allow it; nothing was trained.
        Stopped: a signal came; the state is saved.
        Diverged: a step was not finite; the result says "failed", as it does after any
            other error.
    """
    experiment.check_mesh(mesh_shape)
    mesh = make_mesh(mesh_shape)
    writes = jax.process_index() == 0
    folder = RunFolder(workdir, writes=writes, say=watcher.note)
    finished = folder.finished(experiment)
    if finished is not None:
        watcher.note("finished before; nothing to do")
        return finished
    with closing(folder):
        known = describe(experiment, study=study, tuning=tuning)
        return _run(experiment, folder, mesh, watcher, stop, known, data)


def _run(
    experiment: Experiment,
    folder: RunFolder,
    mesh: Mesh,
    watcher: Watcher,
    stop: StopSignal,
    result: Result,
    data: Dataset | None,
) -> Result:
    """Trains, and leaves a result in the folder whether it ends well or fails."""
    training = None
    env = environment(dict(mesh.shape))
    try:
        data = data or prepare(experiment.task, say=watcher.note)
        result = with_data(result, experiment, data)
        folder.open(experiment, env)
        with jax.set_mesh(mesh):
            training = Training(experiment, folder, data, mesh, watcher, stop)
            with closing(training):
                training.go()
            return folder.finish(training.end(result))
    except (Stopped, UserError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, Diverged) else f"{type(error).__name__}: "
        reason = f"{kind}{error}".splitlines()[0]
        measured = result if training is None else training.describe(result)
        folder.open(experiment, env)  # not open yet if the data failed
        folder.finish(replace(measured, error=reason))
        raise


class Training:
    """The moving parts of one run; needs its mesh to be current."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        data: Dataset,
        mesh: Mesh,
        watcher: Watcher,
        stop: StopSignal,
    ):
        self.experiment, self.folder, self.data = experiment, folder, data
        self.mesh, self.watcher, self.stop = mesh, watcher, stop
        self.seeds = experiment.seed_numbers
        self.timing = Timing(len(self.seeds))
        self.model = model_def(experiment)
        self.evaluator = Evaluator(experiment, self.model, data, mesh)
        self.train_step = make_train_step(experiment, self.model)
        self.compiled: dict[int, jax.stages.Compiled] = {}
        self.temp_bytes: int | None = None
        self.layers: dict[str, Layer] = {}
        self.checkpoints = checkpoints_of(experiment, folder.path)
        self.state, self.step = self._start()
        self.saved = self.step

    def _start(self) -> tuple[State, int]:
        """Restores the newest good checkpoint and its step; else a new state and 0."""
        restored = restore_state(self.experiment, self.checkpoints, self.mesh)
        if restored is None:
            self.folder.continue_from(())
            return init_state(self.experiment, self.seeds), 0
        for line in restored.skipped:
            self.watcher.note(line)
        self.watcher.note(f"resumed after step {restored.step}")
        where = self.folder.checkpoints / str(restored.step)
        before = decode(Measured, restored.data, where=where)
        if before.data_sha256 not in ("", self.data.sha256):
            raise UserError(
                f"{self.folder.path} was trained on other data ({before.data_sha256[:12]}"
                f", now {self.data.sha256[:12]}); restore them, or choose another "
                "--workdir"
            )
        self.folder.continue_from(before.history)
        self.timing.continue_from(before.clocks)
        self.temp_bytes, self.layers = before.temp_bytes, dict(before.layers)
        return State(**restored.state), restored.step

    def go(self) -> None:
        """Trains to the last step, or until a signal or a value that is not finite."""
        config = self.experiment.train
        # Not at `save_every`: how often a run is saved must not change its bits.
        every = (config.eval_every,)
        calls = cut_steps(self.step, config.steps, longest=CALL_STEPS, every=every)
        batches = Batches(
            self.data.splits["train"],
            batch_size=config.batch_size,
            seeds=self.seeds,
            calls=calls,
            start_step=self.step,
        )
        with self.stop, batches:
            unread = None
            for length in calls:
                if self.stop.requested or length not in self.compiled:
                    # A signal ends a compilation at once, so all before it is saved.
                    self._settle(unread)
                    unread = None
                    self.stop.check()
                metrics = self._call(batches, length)
                if unread is not None:
                    self._read(*unread)
                unread = (self.step, length, metrics)
                # Checked once: a later signal waits for the next call.
                stopping = bool(self.stop.requested)
                saving = stopping or self._is_save_due()
                if saving or self._is_eval_due(self.step):
                    self._read(*unread)
                    unread = None
                if saving:
                    self._save()
                if stopping:
                    self.stop.check()
        self.stop.check()

    def _is_eval_due(self, step: int) -> bool:
        config = self.experiment.train
        return step % config.eval_every == 0 or step == config.steps

    def _is_save_due(self) -> bool:
        """Whether a multiple of `save_every` was passed since the last checkpoint."""
        config = self.experiment.train
        passed = self.step // config.save_every > self.saved // config.save_every
        return passed or self.step == config.steps

    def _settle(self, unread: tuple[int, int, Metrics] | None) -> None:
        """Reads what has not been read, and saves what has not been saved."""
        if unread is not None:
            self._read(*unread)
        if self.step > self.saved:
            self._save()

    def _save(self) -> None:
        history = tuple(self.folder.history)
        measured = Measured(
            history,
            self.timing.clocks,
            self.temp_bytes,
            self.layers,
            self.data.sha256,
        )
        self.checkpoints.save(self.step, vars(self.state), encode(measured))
        self.saved = self.step

    def _call(self, batches: Batches, length: int) -> Metrics:
        """Dispatches `length` steps without waiting for them."""
        with self.timing.host(length):
            sharding = NamedSharding(self.mesh, P(None, None, "data"))
            batch = jax.device_put(next(batches), sharding)
            if length in self.compiled:
                return self._start_steps(batch, length)
        with self.stop.at_once(), self.timing.compiling(), recording() as choices:
            compiled = self.train_step.lower(self.state, batch).compile()
        self.compiled[length] = compiled
        self.layers |= {c.scope: Layer(c.kernel, c.implementation) for c in choices}
        memory = compiled.memory_analysis()
        if memory is not None:
            self.temp_bytes = max(self.temp_bytes or 0, memory.temp_size_in_bytes)
        return self._start_steps(batch, length)

    def _start_steps(self, batch: dict[str, jax.Array], length: int) -> Metrics:
        self.state, metrics = self.compiled[length](self.state, batch)
        self.step += length
        return metrics

    def _read(self, step: int, length: int, metrics: Metrics) -> None:
        """Waits for a call, raises for values that are not finite, writes its line."""
        values = {name: np.asarray(x) for name, x in metrics.items()}
        self.timing.finished(length)
        self._refuse_non_finite(step - length, values)
        looks = self._is_eval_due(step)
        line = Line(
            step=step,
            train_loss=tuple(values["loss"].mean(axis=0).tolist()),
            grad_norm=tuple(values["grad_norm"].mean(axis=0).tolist()),
            step_ms=self.timing.last_step_ms,
            seconds=self.timing.seconds,
            valid=self._scores("valid") if looks else None,
        )
        self.folder.append(line)
        self.watcher.advance(step, self.experiment.train.steps, written(line))

    def _scores(self, split: str) -> Scores:
        scores = self.evaluator(self.state, split)
        return {name: tuple(values) for name, values in scores.items()}

    def _refuse_non_finite(self, before: int, values: dict[str, np.ndarray]) -> None:
        bad = np.argwhere(values["finite"] == 0)
        if bad.size:
            at, replica = bad[0]
            raise Diverged(
                f"step {before + at + 1} of seed {self.seeds[replica]} was not finite: "
                f"loss {values['loss'][at, replica]}, gradient norm "
                f"{values['grad_norm'][at, replica]}; nothing after it is saved; try a "
                f"lower train.peak_lr than {self.experiment.train.peak_lr}, or a longer "
                "warm-up"
            )

    def describe(self, result: Result) -> Result:
        """A result with what has been measured so far."""
        measured = {"temp_bytes": self.temp_bytes, "layers": self.layers}
        return replace(result, steps=self.step, **measured, **self.timing.summary())

    def end(self, result: Result) -> Result:
        """The result of a run after its last step; saves its maps."""
        scores = {split: self._scores(split) for split in ("valid", "test")}
        self.folder.write_maps(
            make_maps(self.experiment, self.model, self.state, self.data)
        )
        return replace(self.describe(result), status="done", **scores)

    def close(self) -> None:
        """Waits for the last checkpoint."""
        self.checkpoints.close()
