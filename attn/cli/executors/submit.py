"""Runs as jobs: their files, the engine that takes them, and one launcher at a time."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from attn.cli.console import console
from attn.cli.executors.board import JobBoard
from attn.cli.executors.job import Job
from attn.cli.executors.on_ray import RayTasks
from attn.cli.executors.on_slurm import Submitit
from attn.cli.executors.options import Executing
from attn.cli.executors.supervise import Engine, Supervisor, Work
from attn.cli.folders import writing
from attn.cli.options import Where
from attn.config import Experiment
from attn.records.files import write_json
from attn.records.folder import RunFolder
from attn.records.identity import identity
from attn.records.lock import lock
from attn.train.signals import StopSignal
from attn.train.study import load_data

JOBS = ".jobs"
"""The folder in a workdir for the files and logs of jobs."""
PASSED_ON = ("ATTN_", "JAX_", "XLA_", "PYTHONPATH")
"""How the variables begin that a job gets from the launcher's environment."""

Runs = Sequence[tuple[Experiment, Path]]

ENGINES: dict[str, Callable[[Executing, Path, str], Engine]] = {
    "slurm": lambda asked, folder, name: Submitit(
        folder / "submitit", name, asked.slurm
    ),
    "ray": lambda asked, folder, name: RayTasks(asked.ray),
}
"""The engine of each executor, made from the options, a folder for its files and a name."""


def run_as_jobs(
    runs: Runs,
    root: Path,
    where: Where,
    asked: Executing,
    study: str | None,
    files: Sequence[Path],
) -> list[str]:
    """Trains runs as jobs, those that are finished left out; one line for each failure.

    Args:
        files: the files of a user that register experiments, which a job needs too.

    Raises:
        UserError: a folder, the data or what was asked of the engine are wrong.
        Stopped: a signal came; the jobs are cancelled, and the same call goes on.
    """
    board = JobBoard(console(), len(runs))
    left = []
    for experiment, folder in runs:
        if RunFolder(folder, say=board.note).finished(experiment) is None:
            left.append((experiment, folder))
        else:
            board.note(f"{experiment.name}: finished before; nothing to do")
    if not left:
        return []
    load_data([experiment for experiment, _ in left], board.note)
    with _locked(root / JOBS) as jobs:
        work = [
            Work(e, own, make_job(e, own, jobs, where, study, files)) for e, own in left
        ]
        made = ENGINES[asked.executor](asked, jobs, root.absolute().name)
        with closing(made) as engine, board, StopSignal() as stop:
            return Supervisor(engine, board, stop).go(work)


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Makes the folder of jobs, and keeps other launchers out of it inside `with`."""
    with writing(folder):
        held = lock(folder)
    with held:
        yield folder.absolute()


def make_job(
    experiment: Experiment,
    folder: Path,
    jobs: Path,
    where: Where,
    study: str | None,
    files: Sequence[Path],
) -> Job:
    """Writes the file of a run to `jobs`, and returns the command that trains it."""
    file = jobs / f"{experiment.name}.json"
    write_json(file, identity(experiment))
    command = [sys.executable, _launcher()]
    for own in files:
        command += ["--experiments", str(own)]
    command += ["run", str(file), "--workdir", str(folder.absolute())]
    if where.mesh:
        command += ["--mesh", where.mesh]
    for tool in where.log:
        command += ["--log", tool]
    if study is not None:
        command += ["--study", study]
    passed = {n: value for n, value in os.environ.items() if n.startswith(PASSED_ON)}
    return Job(
        experiment.name,
        tuple(command),
        str(Path.cwd()),
        tuple(sorted(passed.items())),
        str(file.with_suffix(".log")),
    )


def _launcher() -> str:
    """The file of the command line, which stands beside the package."""
    spec = find_spec("launch")
    return str(spec and spec.origin)
