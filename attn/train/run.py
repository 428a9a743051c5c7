"""One run from start to end: its folder, its data, the training, and its result."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
from jax.sharding import Mesh

from attn.config import Experiment
from attn.config.tuning import Tuning
from attn.data.build import prepare
from attn.errors import UserError
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.processes import in_turn, is_first
from attn.records.describe import describe, with_data
from attn.records.environment import environment
from attn.records.folder import RunFolder
from attn.records.result import Result
from attn.tasks.base import Dataset
from attn.train.diverged import Diverged
from attn.train.loop import Training
from attn.train.signals import Stopped, StopSignal
from attn.train.watcher import Watcher


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
    folder = RunFolder(workdir, writes=is_first(), say=watcher.note)
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
        in_turn(lambda: folder.open(experiment, env))
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
