"""Commands that train: run, compare, sweep."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli import process
from attn.cli.choosing import Source, choose, named, resolve, take_name
from attn.cli.console import console
from attn.errors import EXIT_FAILED, UserError

if TYPE_CHECKING:
    from attn.cli.executors.options import Executing
    from attn.cli.options import Where
    from attn.config import Experiment
    from attn.config.tuning import Tunings
    from attn.parallel.mesh import MeshShape


def run(words: Sequence[str], registry: Source) -> int:
    """Trains an experiment or a study; continues one, or reports what is finished."""
    from attn.cli.executors.words import take

    name, _ = take_name(words, "run")
    asked, rest = take(words, f"launch.py run {name}")
    experiments, where, study = choose(rest, "run", registry)
    return _train(experiments, where, study, registry, asked)


def compare(words: Sequence[str], registry: Source) -> int:
    """Compares dense, sparse and low-rank attention in one table; all with --all."""
    from attn.cli.executors.words import take

    named = "mechanisms" if "--all" in words else "families"
    rest = [word for word in words if word != "--all"]
    asked, rest = take([named, *rest], "launch.py compare [--all]")
    experiments, where, study = choose(rest, "compare", registry)
    return _train(experiments, where, study, registry, asked)


def sweep(words: Sequence[str], registry: Source) -> int:
    """Varies one experiment along some of its fields, at equal cost."""
    from attn.cli.executors.words import take
    from attn.cli.options import Sweep
    from attn.cli.parsing import parse
    from attn.config import Experiment
    from attn.config.sweep import sweep as points

    name, _ = take_name(words, "sweep")
    executing, rest = take(words, f"launch.py sweep {name}")
    base = named(name, registry)
    asked = parse(Sweep, rest[1:], prog=f"launch.py sweep {name}")
    if not isinstance(base, Experiment):
        raise UserError(f"{name!r} is a study; sweep one of its experiments")
    if asked.seeds is not None:
        base = replace(base, seeds=asked.seeds)
    grid = _grid(base, asked.over)
    varied = "-".join(path.rpartition(".")[2] for path in grid)
    study = f"sweep-{Path(name).stem}-{varied}"
    swept = resolve(points(base, grid, by=asked.match))
    return _train(swept, asked, study, registry, executing)


def _grid(base: "Experiment", over: Sequence[str]) -> dict[str, tuple]:
    """The values of each field of --over, without repeats."""
    from attn.config.sweep import parse_axis

    if not over:
        raise UserError("sweep needs --over, as in --over model.num_heads=1,2,4")
    grid = {}
    for text in over:
        path, values = parse_axis(base, text)
        if path in ("name", "claim"):
            raise UserError(
                f"--over {text!r}: {path} is no field to sweep; choose one of task, "
                "model or train"
            )
        if path in grid:
            raise UserError(f"--over names {path} twice; give all its values at once")
        twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
        if twice is not None:
            raise UserError(f"--over {text!r} has {twice} twice; leave one out")
        grid[path] = values
    return grid


def prepare(
    experiments: "Sequence[Experiment]",
    where: "Where",
    study: str | None,
    *,
    here: bool = True,
) -> "tuple[Path, MeshShape]":
    """The workdir and the mesh, once all that can be checked without jax has been.

    Args:
        here: whether this machine is to train them.

    Raises:
        UserError: a run of them cannot succeed.
    """
    from attn.cli import loggers
    from attn.cli.folders import workdir
    from attn.cli.sizes import check_disk, check_size
    from attn.parallel.mesh import MeshShape

    mesh_shape = MeshShape.parse(where.mesh)
    if here:
        check_size(experiments, mesh_shape)
    root = workdir(where.workdir, study or experiments[0].name)
    check_disk(experiments, root)
    for experiment in experiments:
        experiment.task.check()
        experiment.check_mesh(mesh_shape)
    loggers.check(where.log)
    return root, mesh_shape


def connect(root: Path, mesh_shape: "MeshShape", where: "Where") -> None:
    """Connects this process with the others of the command, and divides the CPU."""
    from attn.parallel import processes

    if processes.connected():
        return
    process.tell(root)
    process.mute_libraries()
    processes.connect(mesh_shape.size, local=where.nprocs is not None)


def _train(
    experiments: "Sequence[Experiment]",
    where: "Where",
    study: str | None,
    registry: Source,
    asked: "Executing",
) -> int:
    """Trains each experiment in its folder, prints the table and writes the report."""
    if asked.study is not None and study is not None:
        raise UserError(
            f"--study {asked.study} is for one run, and {study!r} has several; leave it out"
        )
    here = asked.executor == "local"
    root, mesh_shape = prepare(experiments, where, study, here=here)
    if here:
        tunings = registry().tunings_of(experiments)
        return train(experiments, root, mesh_shape, where, study, tunings, asked.study)
    return _train_elsewhere(experiments, root, where, study, asked, registry().files())


def train(
    experiments: "Sequence[Experiment]",
    root: Path,
    mesh_shape: "MeshShape",
    where: "Where",
    study: str | None,
    tunings: "Tunings | None" = None,
    member_of: str | None = None,
) -> int:
    """Trains what `prepare` has checked; a study that stops has its table so far.

    Args:
        member_of: the study that a single run belongs to, which reports it.
    """
    from attn.cli import loggers
    from attn.cli.folders import run_folders

    runs = run_folders(root, experiments, study)

    from attn.parallel import processes

    connect(root, mesh_shape, where)
    first = processes.is_first()

    from attn.cli.progress import Watch
    from attn.train.study import run_all

    steps = sum(experiment.train.steps for experiment, _ in runs)
    logs = loggers.open_loggers(where.log if first else (), root)
    watching = Watch(console(quiet=not first), steps, logs)
    with _table_so_far(root, study if first else None), watching as watch:
        failures = run_all(
            runs,
            watcher=watch,
            mesh_shape=mesh_shape,
            study=study or member_of,
            tunings=tunings,
        )
    processes.leave()
    if member_of is not None:
        return 0
    # A process that fails ends the others: the first one's report would be cut short.
    return _report(root, failures) if first else 0


def _train_elsewhere(
    experiments: "Sequence[Experiment]",
    root: Path,
    where: "Where",
    study: str | None,
    asked: "Executing",
    files: Sequence[Path],
) -> int:
    """Trains what `prepare` has checked as jobs of an executor, and reports it here."""
    from attn.cli.executors.submit import run_as_jobs
    from attn.cli.folders import run_folders

    runs = run_folders(root, experiments, study)
    with _table_so_far(root, study):
        failures = run_as_jobs(runs, root, where, asked, study, files)
    return _report(root, failures)


@contextmanager
def _table_so_far(root: Path, study: str | None) -> Iterator[None]:
    """Prints the table of the runs that are finished where a study is stopped."""
    from attn.cli.reporting import print_finished
    from attn.parallel import processes
    from attn.train.signals import Stopped

    try:
        yield
    except (Stopped, UserError) as error:
        if isinstance(error, Stopped):
            processes.leave()
        if study is not None:
            print_finished(root)
        raise


def _report(root: Path, failures: Sequence[str]) -> int:
    """Writes the report of a workdir and says what failed; returns the exit code."""
    from attn.cli.reporting import write_report
    from attn.records.collect import load_all, run_folders_in

    if any(run_folders_in(root)) or not failures:
        write_report(load_all(root), root, root.resolve().name)
    for failure in failures:
        print(failure, file=sys.stderr)
    return EXIT_FAILED if failures else 0
