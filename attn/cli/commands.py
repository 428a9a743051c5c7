"""Commands that train nothing: list, show, report, inspect, bench."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.cli.options import Where
    from attn.config import Experiment
    from attn.config.tuning import Tunings
    from attn.registry import Replacement, Reproduction


EQUAL = 1.01
"""The largest ratio of the parameters of models that are compared as equal."""


class Registry(Protocol):
    """A registry of experiments and studies by name."""

    def get(self, name: str) -> Any:
        """Returns the experiment or study of that name."""
        ...

    def everything(self) -> Sequence[Any]:
        """All experiments and studies, in order."""
        ...

    def files(self) -> Sequence[Path]:
        """The files of a user that have registered."""
        ...

    def papers(self) -> Sequence[Path]:
        """The folders of published numbers."""
        ...

    def reproductions(self, paper: str) -> "Sequence[Reproduction]":
        """Reproductions of the numbers of a paper."""
        ...

    def replacements(self) -> "Sequence[Replacement]":
        """Mechanisms that `swap` puts in place of attention."""
        ...

    def tunings(self) -> "Tunings":
        """The grids of learning rates of all studies, by experiment."""
        ...

    def tunings_of(self, experiments: "Sequence[Experiment]") -> "Tunings":
        """The grids of those experiments that are as registered."""
        ...


Source = Callable[[], Registry]
"""A function that returns the registry; called by commands that need it."""


def list_(words: Sequence[str], registry: Source) -> int:
    """Prints names, claims and minutes; or what may be named, as in `list optimizers`."""
    from attn.cli.listing import as_json, as_lines

    if words and not words[0].startswith("-"):
        return _list_named(words, registry)
    as_values, members = list(words) == ["--json"], list(words) == ["--all"]
    if words and not as_values and not members:
        from attn.cli.options import Listing
        from attn.cli.parsing import parse

        asked = parse(Listing, words, prog="launch.py list")
        as_values, members = asked.json, asked.all
    items = registry().everything()
    if as_values:
        print(json.dumps(as_json(items), indent=2))
    else:
        print("\n".join(as_lines(items, members=members)))
    return 0


def _list_named(words: Sequence[str], registry: Source) -> int:
    """Prints every mechanism, task, optimizer or schedule with its first sentence."""
    from attn.cli.listing import NAMED, named_lines
    from attn.errors import unknown

    if words[0] not in NAMED or len(words) > 1:
        raise unknown("list of", " ".join(words), NAMED)
    registry()  # a user's file may add to them
    print("\n".join(named_lines(words[0])))
    return 0


def show(words: Sequence[str], registry: Source) -> int:
    """Prints the resolved config and its costs; compiles nothing."""
    from attn.cli.listing import as_text, details
    from attn.cli.options import Showing
    from attn.cli.parsing import parse, print_help_of, split_off

    own, rest = split_off(words, ("save",), flags=("json",))
    asked = parse(Showing, own, prog="launch.py show NAME")
    print_help_of(Showing, rest[1:], prog="launch.py show NAME")
    chosen, where, _ = choose(rest, "show", registry)
    refuse_unused(where, "show", "workdir", "mesh", "nprocs", "log")
    if asked.save is not None:
        return _save(chosen, asked.save)
    shown = [details(experiment) for experiment in chosen]
    if asked.json:
        print(json.dumps(shown, indent=2))
    else:
        print("\n\n".join("\n".join(as_text(one)) for one in shown))
    return 0


def _save(experiments: "Sequence[Experiment]", file: str) -> int:
    """Writes one experiment to a file that `run` takes in place of a name."""
    from attn.cli.folders import folder
    from attn.records.identity import identity

    if len(experiments) != 1:
        raise UserError(
            f"--save takes one experiment, and here are {len(experiments)}; name one"
        )
    path = folder("--save", file, file=True)
    if path.suffix != ".json":
        raise UserError(f"--save {path}: name it .json, which is how `run` knows it")
    try:
        path.write_text(json.dumps(identity(experiments[0]), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--save {path}: {error.strerror}; choose another") from None
    print(path)
    return 0


def bench(words: Sequence[str], benchmarks: Callable[[], Any]) -> int:
    """Benchmarks our kernels against other libraries', interleaved, by ratio."""
    from functools import partial

    from attn.bench import command
    from attn.cli.parsing import parse
    from attn.cli.progress import Watch

    asked = parse(command.Benching, words, prog="launch.py bench")
    quiet = partial(Watch, live=False)  # nothing is drawn while a call is timed
    command.bench(asked, benchmarks().SUITES, benchmarks().RESULTS, quiet)
    return 0


def inspect(words: Sequence[str], registry: Source) -> int:
    """Measures how well cheaper attention approximates a trained softmax model."""
    from attn.cli.folders import workdir

    experiments, where, study = choose(words, "inspect", registry)
    refuse_unused(where, "inspect", "mesh", "nprocs", "log")
    if study is not None:
        raise UserError(f"{study!r} is a study; inspect one of its experiments")
    root = workdir(where.workdir, experiments[0].name)

    from attn.inspect import command

    printer = console()
    print_paths(printer, *command.inspect(experiments[0], root, root, printer.print))
    return 0


def choose(
    words: Sequence[str], command: str, registry: Source
) -> "tuple[Sequence[Experiment], Where, str | None]":
    """The experiments that a command line names, overrides applied, and their study."""
    from attn.cli.parsing import override
    from attn.config import Experiment

    name, rest = take_name(words, command)
    item = named(name, registry)
    prog = f"launch.py {command} {name}"
    if command == "compare":
        prog = "launch.py compare [--all]"
    alone = isinstance(item, Experiment)
    chosen = [override(e, rest, prog) for e in ([item] if alone else item.experiments)]
    experiments = resolve([experiment for experiment, _ in chosen])
    if not alone:
        _check_equal_sizes(name, item.experiments, experiments)
        _warn_alike(name, experiments)
    return experiments, chosen[0][1], None if alone else name


def resolve(experiments: "Sequence[Experiment]") -> "list[Experiment]":
    """The experiments with what only their data say; each is read once."""
    from dataclasses import replace

    tasks = {task: task.resolved() for task in {e.task for e in experiments}}
    return [replace(e, task=tasks[e.task]) for e in experiments]


def named(name: str, registry: Source) -> Any:
    """The experiment or study of a name, or the experiment of a file."""
    known = registry()
    if not name.endswith(".json"):
        return known.get(name)
    from attn.records.files import read_json_or_none
    from attn.records.identity import experiment_of

    path = Path(name)
    if not path.is_file():
        raise UserError(f"{name}: there is no such file")
    values = read_json_or_none(path)
    if values is None:
        raise UserError(f"{name} holds no JSON object; write it with show NAME --save")
    try:
        return experiment_of(values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def refuse_unused(where: "Where", command: str, *names: str) -> None:
    """Raises `UserError` for options that a command would not use."""
    for name in names:
        if getattr(where, name):
            raise UserError(f"{command} does not use --{name}; leave it out")


def _check_equal_sizes(
    study: str, before: "Sequence[Experiment]", after: "Sequence[Experiment]"
) -> None:
    """Raises `UserError` where overrides make a study's models unequal in size."""
    from attn.config.cost import count_params

    for task in {experiment.task for experiment in before}:
        spans = []
        for group in (before, after):
            sizes = [
                count_params(new)
                for old, new in zip(before, group, strict=True)
                if old.task == task
            ]
            spans.append((min(sizes), max(sizes)))
        (low, high), (least, most) = spans
        if high <= EQUAL * low and most > EQUAL * least:
            raise UserError(
                f"{study!r} compares models of equal size, and these words give them "
                f"{least:,} to {most:,} parameters on {task.name}; override one of its "
                "experiments, or sweep it with --match params"
            )


def _warn_alike(study: str, experiments: "Sequence[Experiment]") -> None:
    """Says so where overrides make members of a study the same experiment."""
    from dataclasses import replace

    known: dict[Experiment, list[str]] = {}
    for e in experiments:
        known.setdefault(replace(e, name="_", claim="_"), []).append(e.name)
    for names in known.values():
        if len(names) > 1:
            print(
                f"{study!r}: these words make {', '.join(names)} the same experiment; "
                "run one of them alone",
                file=sys.stderr,
            )


def take_name(words: Sequence[str], command: str) -> tuple[str, Sequence[str]]:
    """Splits the name off the front of a command line."""
    if words and words[0] in ("-h", "--help"):
        print(f"usage: launch.py {command} NAME [--help | options]; NAME as in `list`")
        raise SystemExit(0)
    if not words or words[0].startswith("-"):
        raise UserError(
            f"launch.py {command} needs a name; `launch.py list` shows them"
        )
    return words[0], words[1:]
