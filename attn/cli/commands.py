"""Commands that train nothing: list, show, inspect, bench."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attn.cli.choosing import Source, choose, refuse_unused
from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.config import Experiment


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
    from attn.cli.folders import folder
    from attn.cli.parsing import parse
    from attn.cli.progress import Watch

    asked = parse(command.Benching, words, prog="launch.py bench")
    if asked.out is not None:
        folder("--out", asked.out)
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
