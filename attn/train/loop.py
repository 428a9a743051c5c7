"""A run from start to end: data, state, steps, looks at the validation split, result.

The loop hands the device a call of several steps, and reads the metrics of the call
before while it runs. Checkpoints, signals and a step that is not finite are looked at
between calls. Where a call ends follows from the config alone, so an interrupted run
goes on with the calls, and to the bits, of one that was not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.data.build import prepare
from attn.data.pipeline import Batches, cut_steps
from attn.parallel.mesh import MeshShape, make_mesh
from attn.records.folder import RunFolder, environment
from attn.tasks.base import Dataset
from attn.train.checkpoint.checkpoints import Checkpoints
from attn.train.checkpoint.restore import restore_state
from attn.train.evaluate import Evaluator
from attn.train.result import make_result, save_maps
from attn.train.signals import StopSignal
from attn.train.state import State, init_state, model_def
from attn.train.step import Metrics, make_train_step
from attn.train.timing import Timing

CALL_STEPS = 25
"""Steps handed to the device at once, at most."""


class Diverged(RuntimeError):
    """A loss or gradient that is not finite; its step changed no parameter."""


@runtime_checkable
class Watcher(Protocol):
    """Whoever wants to see a run as it goes."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """`step` of `steps` are done; `values` as in `metrics.jsonl`."""


def run(
    experiment: Experiment,
    workdir: Path,
    *,
    watcher: Watcher,
    stop: StopSignal,
    mesh_shape: MeshShape = MeshShape(),
    study: str | None = None,
) -> dict[str, Any]:
    """Trains all seeds of `experiment` together, and gives what `result.json` holds.

    A run that has ended is not repeated; one that was interrupted goes on from its
    newest good checkpoint, to the same bits.

    Raises:
        UserError: the request or the machine does not allow it; nothing was trained.
        Stopped: a signal came; the state is saved.
        Diverged: a step was not finite; the result says "failed".
    """
    experiment.check_mesh(mesh_shape)
    folder = RunFolder(workdir)
    if folder.is_finished(experiment):
        watcher.note("finished before; nothing to do")
        return folder.result() or {}
    mesh = make_mesh(mesh_shape)
    folder.check(experiment)
    data = prepare(experiment.task, say=watcher.note)
    folder.open(experiment, environment(vars(mesh_shape)))
    with jax.set_mesh(mesh):
        training = Training(experiment, folder, data, mesh, watcher, stop)
        try:
            training.go()
        except Diverged as error:
            failed = {"status": "failed", "error": str(error)}
            folder.finish(training.result(study) | failed)
            raise
        finally:
            training.close()
        scores = {s: training.evaluator(training.state, s) for s in ("valid", "test")}
        result = training.result(study) | scores
        save_maps(experiment, training.model, training.state, data, workdir)
    folder.finish(result)
    return result


class Training:
    """The moving parts of one run. Needs its mesh set."""

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
        self.seeds = tuple(range(experiment.seeds))
        self.timing = Timing(len(self.seeds))
        self.model = model_def(experiment)
        self.evaluator = Evaluator(experiment, self.model, data, mesh)
        self.train_step = make_train_step(experiment, self.model)
        self.compiled: dict[int, jax.stages.Compiled] = {}
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.state, self.step = self._start()

    def _start(self) -> tuple[State, int]:
        """The newest good checkpoint and its step, or a new state and 0."""
        restored = restore_state(self.experiment, self.checkpoints, self.mesh)
        if restored is None:
            self.folder.truncate(-1)
            return init_state(self.experiment, self.seeds), 0
        for line in restored.skipped:
            self.watcher.note(line)
        self.watcher.note(f"resumed after step {restored.step}")
        self.folder.truncate(restored.step)
        return State(**restored.state), restored.step

    def go(self) -> None:
        """Trains to the last step, or until a signal or a step that is not finite."""
        config = self.experiment.train
        marks = (config.eval_every, config.save_every)
        calls = cut_steps(self.step, config.steps, longest=CALL_STEPS, every=marks)
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
                metrics = self._call(batches, length)
                if unread is not None:
                    self._read(*unread)
                unread = (self.step, length, metrics)
                # Asked once: a signal from here on waits for the next call.
                stopping = bool(self.stop.requested)
                if stopping or self._due("eval_every", "save_every"):
                    self._read(*unread)
                    unread = None
                    if stopping or self._due("save_every"):
                        state = vars(self.state)
                        self.checkpoints.save(self.step, state, batches.get_state())
                    if stopping:
                        self.stop.check()
        self.stop.check()

    def _due(self, *fields: str) -> bool:
        """Whether this step is the last, or a multiple of one of these fields."""
        config = self.experiment.train
        marks = [getattr(config, field) for field in fields]
        return any(self.step % n == 0 for n in (*marks, config.steps))

    def _call(self, batches: Batches, length: int) -> Metrics:
        """Starts `length` steps, and does not wait for them."""
        with self.timing.host(length):
            sharding = NamedSharding(self.mesh, P(None, None, "data"))
            batch = jax.device_put(next(batches), sharding)
            if length in self.compiled:
                return self._start_steps(batch, length)
        with self.stop.at_once(), self.timing.compiling():
            lowered = self.train_step.lower(self.state, batch)
            self.compiled[length] = lowered.compile()
        return self._start_steps(batch, length)

    def _start_steps(self, batch: dict[str, jax.Array], length: int) -> Metrics:
        self.state, metrics = self.compiled[length](self.state, batch)
        self.step += length
        return metrics

    def _read(self, step: int, length: int, metrics: Metrics) -> None:
        """Waits for a call, refuses what is not finite, and writes its line."""
        values = {name: np.asarray(x) for name, x in metrics.items()}
        self.timing.finished(length)
        self._refuse_non_finite(step - length, values)
        line: dict[str, Any] = {
            "train_loss": values["loss"].mean(axis=0).tolist(),
            "grad_norm": values["grad_norm"].mean(axis=0).tolist(),
            "step_ms": self.timing.last_step_ms,
            "seconds": self.timing.seconds,
        }
        config = self.experiment.train
        if step % config.eval_every == 0 or step == config.steps:
            line["valid"] = self.evaluator(self.state, "valid")
        self.folder.append(step, line)
        self.watcher.advance(step, config.steps, line)

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

    def result(self, study: str | None) -> dict[str, Any]:
        """All of `result.json` but the scores."""
        longest = self.compiled[max(self.compiled)] if self.compiled else None
        memory = longest.memory_analysis() if longest else None
        return make_result(self.experiment, self.data, study=study) | {
            "steps": self.step,
            "temp_bytes": memory.temp_size_in_bytes if memory else None,
            **self.timing.summary(),
        }

    def close(self) -> None:
        """Waits for the last checkpoint."""
        self.checkpoints.close()
