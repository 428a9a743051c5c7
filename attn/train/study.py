"""Studies: several runs in turn, each in a folder of its own."""

from collections.abc import Sequence
from pathlib import Path

from attn.config import Experiment
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.train.loop import Watcher, run
from attn.train.signals import Stopped, StopSignal


def run_all(
    experiments: Sequence[Experiment],
    folders: Sequence[Path],
    *,
    watcher: Watcher,
    mesh_shape: MeshShape = MeshShape(),
    study: str | None = None,
) -> list[str]:
    """Runs each experiment in its folder; skips those that are finished.

    One that fails says so in its folder, and the others go on.

    Returns:
        One line for each failure.

    Raises:
        UserError: a request, a folder or the data are wrong.
        Stopped: a signal came; everything is saved, and the same call goes on.
    """
    failures = []
    stop = StopSignal()  # handled where there is something to save
    for experiment, folder in zip(experiments, folders):
        stop.check()
        watcher.begin(experiment.name, experiment.train.steps)
        try:
            run(
                experiment,
                folder,
                watcher=watcher,
                stop=stop,
                mesh_shape=mesh_shape,
                study=study,
            )
        except (Stopped, UserError):
            raise
        except Exception as error:
            if len(experiments) == 1:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            watcher.note(f"failed: {reason}")
            failures.append(f"{experiment.name} failed: {reason}")
    return failures
