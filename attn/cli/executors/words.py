"""The options of executors on a command line, and their checks before anything is made."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from attn.cli.executors.options import Executing
from attn.cli.parsing import parse, print_help_of
from attn.errors import UserError

PACKAGES = {"slurm": "submitit", "ray": "ray"}
"""The package that each executor is served by, in the extra of the executor's name."""
OWN = ("--executor", "--study", "--slurm.", "--ray.")
"""How the options of executors begin."""


def take(words: Sequence[str], prog: str) -> tuple[Executing, list[str]]:
    """Splits the options of executors off a command line, and checks them.

    Raises:
        UserError: an option is wrong, or of another executor, or cannot be had here.
    """
    own, rest, waiting = [], [], iter(words)
    for word in waiting:
        if not word.startswith(OWN):
            rest.append(word)
            continue
        own.append(word)
        if "=" not in word:
            own.extend(next(([value] for value in waiting), []))
    print_help_of(Executing, rest[1:], prog=prog)
    asked = parse(Executing, own, prog=prog)
    for word in own:
        owner = word.removeprefix("--").partition(".")[0]
        if word.startswith(OWN[2:]) and owner != asked.executor:
            raise UserError(
                f"{word} is for --executor {owner}; add that, or leave it out"
            )
    check(asked)
    return asked, rest


def check(asked: Executing) -> None:
    """Raises `UserError` where an executor's package or its commands are missing."""
    name = asked.executor
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        raise UserError(
            f"--executor {name} needs the package {PACKAGES[name]}, which is not "
            f"installed; run: pip install 'attn[{name}]'"
        )
    if name == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError(
            "--executor slurm needs SLURM's commands sbatch and srun, which are not on this "
            "machine; submit from one that has them, or choose --executor local or ray"
        )
    if name != "local" and asked.study is not None:
        raise UserError(
            f"--study {asked.study} is for one run in this process; leave it out with "
            f"--executor {name}"
        )
