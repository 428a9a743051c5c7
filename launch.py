"""The one door of the laboratory.

    python launch.py list [--json]             names, claims, minutes
    python launch.py show NAME [overrides]     config, parameters, FLOPs, bytes
    python launch.py compare [--all]           dense, sparse and low-rank in one table
    python launch.py run NAME [overrides]      an experiment or a study, resumed by itself
    python launch.py sweep NAME --over model.num_heads=1,2,4 --match params
    python launch.py report DIR                tables, plots and a page from run folders
    python launch.py inspect NAME              how far cheaper attention is from softmax
    python launch.py bench [--json]            our kernels beside other libraries', by ratio

Each has --help. An override names a field: --model.num-heads 8, --train.steps 2000,
--kernel linear. Exit codes: 0 done, 1 failed, 2 what you typed is wrong, 75 stopped by
a signal and resumable by the same command.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.cli.options import Where
    from attn.config import Experiment

EXIT_FAILED, EXIT_USAGE = 1, 2


def list_(words: Sequence[str]) -> int:
    """Names, claims, families, minutes."""
    from attn.cli.listing import as_json, as_table
    from attn.cli.options import Listing, parse
    from experiments import registry

    asked = parse(Listing, words, prog="launch.py list")
    items = registry.everything()
    if asked.json:
        print(json.dumps(as_json(items), indent=2))
    else:
        _console().print(as_table(items))
    return 0


def show(words: Sequence[str]) -> int:
    """The resolved config and what it costs; nothing is compiled."""
    from attn.cli.listing import details

    chosen, _, _ = _choose(words, "show")
    print(json.dumps([details(experiment) for experiment in chosen], indent=2))
    return 0


def run(words: Sequence[str]) -> int:
    """An experiment or a study: trains, goes on, or reports what is finished."""
    experiments, where, study = _choose(words, "run")
    return _train(experiments, where, study)


def compare(words: Sequence[str]) -> int:
    """The main job: dense, sparse and low-rank attention in one table; or --all."""
    named = "mechanisms" if "--all" in words else "families"
    rest = [word for word in words if word != "--all"]
    experiments, where, study = _choose([named, *rest], "compare")
    return _train(experiments, where, study)


def sweep(words: Sequence[str]) -> int:
    """One experiment along some of its fields, at equal cost."""
    from attn.cli.options import Sweep, parse
    from attn.config import Experiment
    from attn.config import sweep as grids
    from attn.errors import UserError
    from experiments import registry

    name, rest = _name(words, "sweep")
    base = registry.get(name)
    asked = parse(Sweep, rest, prog=f"launch.py sweep {name}")
    if not isinstance(base, Experiment):
        raise UserError(f"{name!r} is a study; sweep one of its experiments")
    if not asked.over:
        raise UserError("sweep needs --over, as in --over model.num_heads=1,2,4")
    if asked.seeds is not None:
        base = replace(base, seeds=asked.seeds)
    grid = dict(grids.parse_axis(base, text) for text in asked.over)
    points = grids.sweep(base, grid, by=asked.match)
    return _train(points, asked, study=f"sweep-{name}")


def report(words: Sequence[str]) -> int:
    """Tables, plots and one offline page from run folders."""
    from attn.cli.options import Reporting, parse

    asked = parse(Reporting, words, prog="launch.py report")
    return _report(asked.directory, asked.out, asked.readme)


def bench(words: Sequence[str]) -> int:
    """Our kernels beside what a user would pick instead: same run, in turn, ratios."""
    from functools import partial

    from attn.bench import command
    from attn.cli.options import parse
    from attn.cli.progress import Watch
    from experiments.benchmarks import RESULTS, SUITES

    asked = parse(command.Benching, words, prog="launch.py bench")
    command.bench(asked, SUITES, RESULTS, partial(Watch, live=False))
    return 0


def inspect(words: Sequence[str]) -> int:
    """How far cheaper attention is from a trained softmax, along each one's knob."""
    from attn.inspect import command

    experiments, where, study = _choose(words, "inspect")
    if study is not None:
        from attn.errors import UserError

        raise UserError(f"{study!r} is a study; inspect one of its experiments")
    folder = where.workdir or Path("runs") / experiments[0].name
    console = _console()
    for path in command.inspect(experiments[0], folder, folder, console.print):
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "list": list_,
    "show": show,
    "compare": compare,
    "run": run,
    "sweep": sweep,
    "report": report,
    "bench": bench,
    "inspect": inspect,
}


def _choose(
    words: Sequence[str], command: str
) -> "tuple[Sequence[Experiment], Where, str | None]":
    """The experiments that a command line names, with its overrides, and the study."""
    from attn.cli.options import override
    from attn.config import Experiment
    from experiments import registry

    name, rest = _name(words, command)
    item = registry.get(name)
    prog = f"launch.py {command}" + (f" {name}" if command != "compare" else "")
    alone = isinstance(item, Experiment)
    chosen = [override(e, rest, prog) for e in ([item] if alone else item.experiments)]
    experiments = [experiment for experiment, _ in chosen]
    return experiments, chosen[0][1], None if alone else name


def _name(words: Sequence[str], command: str) -> tuple[str, Sequence[str]]:
    """The name that a command line begins with, and the rest."""
    from attn.errors import UserError

    if words and words[0] in ("-h", "--help"):
        print(f"usage: launch.py {command} NAME [--help | options]; NAME as in `list`")
        raise SystemExit(0)
    if not words or words[0].startswith("-"):
        raise UserError(
            f"launch.py {command} needs a name; `launch.py list` shows them"
        )
    return words[0], words[1:]


def _train(
    experiments: "Sequence[Experiment]", where: "Where", study: str | None
) -> int:
    """Runs each in its folder, prints the table, and writes the report."""
    from attn.parallel.mesh import MeshShape, use_cpu_devices
    from attn.records.folder import RunFolder

    mesh_shape = MeshShape.parse(where.mesh)
    root = where.workdir or Path("runs") / (study or experiments[0].name)
    folders = [root / e.name if study else root for e in experiments]
    for experiment, folder in zip(experiments, folders):
        experiment.check_mesh(mesh_shape)
        RunFolder(folder).check(experiment)
    use_cpu_devices(mesh_shape.size)

    from attn.train.study import run_all

    console = _console()
    failures = run_all(
        experiments, folders, console=console, mesh_shape=mesh_shape, study=study
    )
    _report(root, None, None)
    for failure in failures:
        print(failure, file=sys.stderr)
    return EXIT_FAILED if failures else 0


def _report(directory: Path, out: Path | None, readme: Path | None) -> int:
    from attn.errors import UserError
    from attn.plots.results import CAPTION, update_readme
    from attn.plots.tables import to_rich
    from attn.report import write_report

    console = _console()
    try:
        written = write_report(directory, out)
    except OSError as error:
        raise UserError(
            f"cannot write to {out or directory}: {error.strerror}; choose another --out"
        ) from error
    console.print(to_rich(written.tables, after=[CAPTION, *written.problems]))
    if readme is not None:
        update_readme(readme, written.markdown)
    console.print(f"{written.table}, {written.page}", highlight=False)
    return 0


def _console():
    """The terminal, or a page wide enough for a table where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


def _use_huge_pages() -> None:
    """Starts this process again with an allocator that asks for huge pages.

    XLA on a CPU takes its scratch memory anew for each call, and small pages cost it up
    to a quarter of a training step in faults. glibc reads the setting once, at start.
    """
    name, value = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
    if sys.platform == "linux" and name not in os.environ:
        environment = os.environ | {name: value}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def main(words: Sequence[str]) -> int:
    """Runs one command; gives its exit code."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    from attn.errors import UserError, unknown

    try:
        if words[0] not in COMMANDS:
            raise unknown("command", words[0], COMMANDS)
        return COMMANDS[words[0]](words[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except Exception as error:
        code = _known_end(error)
        if code is None:
            raise
        return code


def _known_end(error: Exception) -> int | None:
    """The exit code of an end that is no bug, said in one line; None for the others."""
    from attn.train.loop import Diverged
    from attn.train.signals import EXIT_STOPPED, Stopped

    if isinstance(error, Stopped):
        print(
            f"stopped by {error}; the same command goes on from here", file=sys.stderr
        )
        return EXIT_STOPPED
    if isinstance(error, Diverged):
        print(f"failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    return None


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("run", "compare", "sweep", "bench"):
        _use_huge_pages()
    sys.exit(main(sys.argv[1:]))
