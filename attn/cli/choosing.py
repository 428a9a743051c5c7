"""The experiments that a command line names, with its overrides."""

import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
        if getattr(where, name) != getattr(type(where), name):
            raise UserError(f"{command} does not use --{name}; leave it out")


def _check_equal_sizes(
    study: str, before: "Sequence[Experiment]", after: "Sequence[Experiment]"
) -> None:
    """Raises `UserError` where overrides make a study's models unequal in size."""
    from attn.config.cost import count_params

    sizes = [[count_params(e) for e in group] for group in (before, after)]
    for i, j in combinations(range(len(before)), 2):
        here = [(of[i], of[j]) for of in sizes]
        (was, now) = (max(pair) <= EQUAL * min(pair) for pair in here)
        if before[i].task == before[j].task and was and not now:
            least, most = sorted(here[1])
            raise UserError(
                f"{study!r} compares models of equal size, and these words give them "
                f"{least:,} to {most:,} parameters on {before[i].task.name}; override one "
                "of its experiments, or sweep it with --match params"
            )


def _warn_alike(study: str, experiments: "Sequence[Experiment]") -> None:
    """Says so where overrides make members of a study the same experiment."""
    known: dict[Experiment, list[str]] = {}
    for e in experiments:
        known.setdefault(e.unnamed, []).append(e.name)
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
