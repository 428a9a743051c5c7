"""Studies: several runs in turn, each in a folder of its own."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from attn.config import Experiment
from attn.config.tuning import Tunings
from attn.data.build import prepare
from attn.errors import UserError
from attn.parallel import processes
from attn.parallel.mesh import MeshShape
from attn.records.seeds import MORE_SEEDS
from attn.tasks import Dataset, Task
from attn.train.diverged import Diverged
from attn.train.run import run
from attn.train.signals import Stopped, StopSignal
from attn.train.watcher import Watcher


def run_all(
    runs: Sequence[tuple[Experiment, Path]],
    *,
    watcher: Watcher,
    mesh_shape: MeshShape = MeshShape(),
    study: str | None = None,
    tunings: Tunings | None = None,
) -> list[str]:
    """Runs each experiment in its folder; skips those that are finished.

    One that fails says so in its folder, and the others go on.

    Args:
        tunings: the grid that the learning rate of each experiment comes from, by name.

    Returns:
        One line for each failure.

    Raises:
        UserError: a request, a folder or the data are wrong.
        Stopped: a signal came; everything is saved, and the same call goes on.
    """
    data = load_data([experiment for experiment, _ in runs], watcher.note)
    failures = []
    # Handled where there is something to save.
    stop = StopSignal(processes.any_said if processes.connected() else None)
    for experiment, folder in runs:
        stop.check()
        steps, first = experiment.train.steps, experiment.first_seed
        watcher.begin(_title(experiment, folder), steps, first_seed=first)
        begin = time.monotonic()
        try:
            result = run(
                experiment,
                folder,
                data=data[experiment.task],
                watcher=watcher,
                stop=stop,
                mesh_shape=mesh_shape,
                study=study,
                tuning=(tunings or {}).get(experiment.name),
            )
            watcher.end(result, time.monotonic() - begin)
        except (Stopped, UserError):
            raise
        except Exception as error:
            # Of several processes the others may not have failed, and wait in a step.
            alone = processes.connected() and not isinstance(error, Diverged)
            if len(runs) == 1 or alone:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            watcher.note(f"failed: {reason}")
            failures.append(f"{experiment.name} failed: {reason}")
    return failures


def _title(experiment: Experiment, folder: Path) -> str:
    """The name of a run; further seeds of one have their own, as in NAME/seeds-3-4."""
    further = folder.match(MORE_SEEDS)
    return f"{experiment.name}/{folder.name}" if further else experiment.name


def load_data(
    experiments: Sequence[Experiment], say: Callable[[str], None]
) -> dict[Task, Dataset]:
    """Loads the data of all runs before the first begins; `say` is told of what it builds.

    Raises:
        UserError: data cannot be had, or have fewer rows than a batch.
    """
    data = {}
    for experiment in experiments:
        task, batch = experiment.task, experiment.train.batch_size
        if task not in data:
            made = partial(prepare, task, say=say)
            data[task] = processes.in_turn(made)
        rows = len(data[task].splits["train"]["tokens"])
        if batch > rows:
            raise UserError(
                f"train.batch_size = {batch} of {experiment.name!r} is above the {rows} "
                "rows of its train split; make it smaller, or the dataset larger"
            )
    return data
