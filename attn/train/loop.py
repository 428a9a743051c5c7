"""The training loop, from start to end: data, steps, validation, result.

The loop dispatches a call of several steps, and reads the metrics of the previous call
while it runs. Checkpoints and values that are not finite are handled between calls. The
ends of calls follow from the config alone. A call of a slow model is done in slices of
about a second by one program, after any of which a signal is obeyed, and its metrics so
far are saved: an interrupted run continues to the bits of one that was not.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.data.pipeline import Batches
from attn.errors import UserError
from attn.parallel.processes import from_first, place
from attn.parallel.rules import spec
from attn.records.folder import RunFolder, written
from attn.records.result import Line, Measured, Result, Scores
from attn.records.typed import decode, encode
from attn.tasks.base import Dataset
from attn.train.calls import CallEnds
from attn.train.checkpoint.restore import checkpoints_of, restore_state
from attn.train.diverged import refuse_non_finite
from attn.train.evaluate import Evaluator
from attn.train.maps import make_maps
from attn.train.programs import Programs
from attn.train.signals import StopSignal
from attn.train.state import State, init_state, model_def
from attn.train.step import METRICS, Metrics
from attn.train.timing import Pace, Timing
from attn.train.watcher import Watcher


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
        self.calls = CallEnds(experiment.train)
        self.timing = Timing(len(self.seeds))
        self.model = model_def(experiment)
        self.evaluator = Evaluator(experiment, self.model, data, mesh)
        self.programs = Programs(experiment, self.model, stop, self.timing)
        self.pace = Pace()
        self.partial: Mapping[str, Any] = {}
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
        self.programs.continue_from(before.temp_bytes, before.layers)
        self.partial = before.partial
        return State(**restored.state), restored.step

    def go(self) -> None:
        """Trains to the last step, or until a signal or a value that is not finite."""
        rows = next(iter(self.partial.values()), ())
        calls = self.calls.since(self.step, begun=len(rows))
        batches = Batches(
            self.data.splits["train"],
            batch_size=self.experiment.train.batch_size,
            seeds=self.seeds,
            calls=[len(call) for call in calls],
            start_step=calls[0].start if calls else self.step,
        )
        with self.stop, batches:
            unread = None
            for call in calls:
                self.stop.agree()
                compiling = not self.programs.has(len(call))
                if self.stop.requested or compiling or self.pace.steps < len(call):
                    # A signal ends a compilation at once, so all before it is saved.
                    self._settle(unread, save=compiling)
                    unread = None
                    self.stop.check()
                begun = self.step
                metrics = self._call(batches, call)
                if unread is not None:
                    self._read(*unread)
                if self.step < call.stop:
                    done = self.step - call.start
                    some = {name: np.asarray(x)[:done] for name, x in metrics.items()}
                    refuse_non_finite(self.experiment, call.start, some)
                    self._save(metrics, done)
                    self.stop.check()
                unread = (call, self.step - begun, metrics)
                # Checked once: a later signal waits for the next call.
                self.stop.agree()
                stopping = bool(self.stop.requested)
                saving = stopping or self.calls.is_save_due(self.step, self.saved)
                if saving:
                    # At most one interval of recorded steps is ever not on disk.
                    self.checkpoints.settle()
                if saving or self.calls.is_eval_due(self.step):
                    self._read(*unread)
                    unread = None
                if saving:
                    self._save()
                if stopping:
                    self.stop.check()
        self.stop.check()

    def _settle(self, unread: tuple[range, int, Metrics] | None, *, save: bool) -> None:
        """Reads what has not been read; with `save`, all before is then on disk."""
        if unread is not None:
            self._read(*unread)
        if self.step > self.saved and (save or self.stop.requested):
            self._save()
        if save:
            self.checkpoints.settle()

    def _save(self, metrics: Metrics | None = None, done: int = 0) -> None:
        """Saves a checkpoint, with the metrics of the steps done in a call."""
        measured = Measured(
            tuple(self.folder.history),
            self.timing.clocks,
            self.programs.temp_bytes,
            self.programs.layers,
            self.data.sha256,
            {} if metrics is None else {n: _rows(x, done) for n, x in metrics.items()},
        )
        self.checkpoints.save(self.step, vars(self.state), encode(measured))
        self.saved = self.step

    def _call(self, batches: Batches, call: range) -> Metrics:
        """Dispatches the steps of a call; a slow one in slices, each waited for.

        A signal ends it after a slice.
        """
        with self.timing.host(len(call)):
            sharding = NamedSharding(self.mesh, spec("C R B"))
            batch = place(next(batches), sharding)
            metrics = self._begun(len(call))
        program = self.programs.get(self.state, batch, metrics)
        while self.step < call.stop:
            begin, at = time.perf_counter(), self.step - call.start
            count = min(self.pace.steps, len(call) - at)
            self.state, metrics = program(
                self.state, batch, metrics, np.int32(at), np.int32(at + count)
            )
            self.step += count
            if self.step < call.stop:
                jax.block_until_ready(metrics)
                self._took(time.perf_counter() - begin, count)
                self.stop.agree()
                self.watcher.within(self.step, self.experiment.train.steps)
                if self.stop.requested:
                    break
        return metrics

    def _took(self, seconds: float, steps: int) -> None:
        """Notes the time of some steps, by one clock where several processes slice."""
        self.pace.took(float(from_first(repr(seconds))), steps)

    def _begun(self, length: int) -> Metrics:
        """The metrics of a call before it goes on: those of its steps before."""
        arrays = {}
        for name, dtype in METRICS.items():
            array = np.zeros((length, len(self.seeds)), dtype)
            rows = self.partial.get(name, ())
            array[: len(rows)] = rows if rows else array[:0]
            arrays[name] = place(array, NamedSharding(self.mesh, P()))
        self.partial = {}
        return arrays

    def _read(self, call: range, done: int, metrics: Metrics) -> None:
        """Waits for a call, raises for values that are not finite, writes its line.

        `done` of its steps were done by this process.
        """
        values = {name: np.asarray(x) for name, x in metrics.items()}
        step = call.stop
        self.timing.finished(done)
        self._took(self.timing.last_step_ms * len(self.seeds) / 1e3, 1)
        refuse_non_finite(self.experiment, call.start, values)
        looks = self.calls.is_eval_due(step)
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

    def describe(self, result: Result) -> Result:
        """A result with what has been measured so far."""
        return replace(
            result,
            steps=self.step,
            temp_bytes=self.programs.temp_bytes,
            layers=self.programs.layers,
            **self.timing.summary(),
        )

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


def _rows(metric: jax.Array, count: int) -> tuple[tuple[float, ...], ...]:
    """The first rows of a metric, as numbers that come back to the bit."""
    return tuple(tuple(map(float, row)) for row in np.asarray(metric)[:count])
