"""Several runs one after the other, in folders side by side, none in another's way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from attn.config import Experiment
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.train.loop import Watcher, run
from attn.train.signals import Stopped, StopSignal


class RunsWatcher(Watcher, Protocol):
    """Whoever wants to see one run after another."""

    def begin(self, name: str, steps: int) -> None:
        """A run of this many steps starts."""


def run_all(
    experiments: Sequence[Experiment],
    folders: Sequence[Path],
    *,
    watch: RunsWatcher,
    mesh_shape: MeshShape = MeshShape(),
    study: str | None = None,
) -> list[str]:
    """Runs each experiment in its folder; those that are finished are skipped.

    One that fails says so in its folder, and the others go on.

    Returns:
        One line for each failure.

    Raises:
        UserError: a request, a folder or the data are wrong.
        Stopped: a signal came; everything is saved, and the same call goes on.
    """
    failures = []
    stop = StopSignal()  # taken up where there is something to save
    for experiment, folder in zip(experiments, folders):
        stop.check()
        watch.begin(experiment.name, experiment.train.steps)
        try:
            run(
                experiment,
                folder,
                watcher=watch,
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
            watch.note(f"failed: {reason}")
            failures.append(f"{experiment.name} failed: {reason}")
    return failures
