"""Parsing of command lines by tyro, with one-line error messages."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, TypeVar

import tyro

from attn.cli.options import Overrides, Where
from attn.config import Experiment, ModelConfig
from attn.config.model_checks import require_read
from attn.config.sweep import BY_NAME as NAMED
from attn.config.sweep import set_field
from attn.errors import UserError

T = TypeVar("T")

BY_NAME = {
    "task": "task",
    "kernel": "model.kernel",
    "optimizer": "train.optimizer",
    "schedule": "train.schedule",
}
"""Options that choose one of several configs by name, and the field that holds it."""


def override(
    experiment: Experiment, words: Sequence[str], prog: str
) -> tuple[Experiment, Where]:
    """Applies options such as `--model.num-heads 8` to `experiment`; also where to run.

    Raises:
        UserError: an option or a value is wrong.
        SystemExit: help was asked for, and given.
    """
    words = list(words)
    for option, path in BY_NAME.items():
        _, given = _take(words, path)
        if given is not None and option != path:
            raise UserError(f"--{path} is chosen by name: --{option} {given}")
        words, name = _take(words, option)
        if name is not None:
            experiment = set_field(experiment, path, name)
        if _take(words, option)[1] is not None:
            raise UserError(f"--{option} is given twice; give it once")
    same = ("model", "task", "train", "seeds")
    now = Overrides(**{name: getattr(experiment, name) for name in same})
    for path in BY_NAME.values():
        _check_knobs(words, path, attrgetter(path)(experiment))
    chosen = parse(Overrides, words, prog=prog, default=now)
    for field in fields(ModelConfig):
        if getattr(chosen.model, field.name) != getattr(now.model, field.name):
            require_read(chosen.model, field.name)
    changed = {name: getattr(chosen, name) for name in same}
    return replace(experiment, **changed), Where(
        chosen.workdir, chosen.mesh, chosen.nprocs, chosen.log
    )


def _check_knobs(words: Sequence[str], path: str, config: Any) -> None:
    """Raises `UserError` for an option of what was chosen by name that it has not."""
    known = [field.name for field in fields(config) if field.init]
    start = f"--{path.replace('_', '-')}."
    for word in words:
        if not word.replace("_", "-").startswith(start):
            continue
        name = word.partition("=")[0][len(start) :].replace("-", "_")
        if name in known:
            continue
        kind = path.rpartition(".")[2]
        others = [
            other
            for other, spec in NAMED[kind].items()
            if name in (field.name for field in fields(spec))
        ]
        have = f"it has {', '.join(known)}" if known else "it has none"
        more = f"; {', '.join(others)} have it: choose by --{kind}" if others else ""
        raise UserError(f"{kind} {config.name} has no option {name!r}; {have}{more}")


def _take(words: list[str], option: str) -> tuple[list[str], str | None]:
    """Splits off `--kernel NAME`, whose options must be known to parse the others."""
    for i, word in enumerate(words):
        if word == f"--{option}" and i + 1 < len(words):
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(f"--{option}="):
            return words[:i] + words[i + 1 :], word.partition("=")[2]
    return words, None


def split_off(
    words: Sequence[str], options: Sequence[str], flags: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Splits options with their values, and flags, off a command line; they come first."""
    own = [f"--{flag}" for flag in flags if f"--{flag}" in words]
    rest = [word for word in words if word not in own]
    for option in options:
        if rest[-1:] == [f"--{option}"]:  # without its value, which the parser tells
            own.append(rest.pop())
    for option in options:
        while (taken := _take(rest, option))[1] is not None:
            rest, own = taken[0], [*own, f"--{option}", taken[1]]
    return own, rest


def print_help_of(what: type, words: Sequence[str], *, prog: str) -> None:
    """Prints the options of a command's own where help is asked for; more may follow."""
    if {"-h", "--help"} & {*words}:
        with contextlib.suppress(SystemExit):
            parse(what, ["--help"], prog=prog)


def parse(
    what: type[T], words: Sequence[str], *, prog: str, default: T | None = None
) -> T:
    """Parses command-line words as an instance of `what`.

    Raises:
        UserError: a word is wrong; in one line.
        SystemExit: help was asked for, and given.
    """
    said = io.StringIO()
    extra: dict[str, Any] = {} if default is None else {"default": default}
    helps = {"-h", "--help"} & set(words)
    try:
        with contextlib.nullcontext() if helps else contextlib.redirect_stderr(said):
            return tyro.cli(
                what,
                args=list(words),
                prog=prog,
                config=(tyro.conf.AvoidSubcommands,),
                **extra,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_line(said.getvalue())) from None


NO_NUMBER = r"(?:invalid literal for int\(\) with base 10|could not convert string to float): (.+)"
"""Python's words for a text that is not an int or a float."""


def _one_line(box: str) -> str:
    """The first part of tyro's boxed error, with the nearest option if it names one.

    tyro has no public way to its errors but this text: a title, then parts with a rule
    between them, framed in ASCII or in U+2500 to U+257F as the terminal can.
    """
    rows = [
        re.sub("[\u2500-\u257f]|-{8,}", "", row).strip() for row in box.splitlines()
    ]
    parts = "\n".join(rows[1:]).strip().split("\n\n")
    message = " ".join(parts[0].split())
    message = re.sub(r"^Error parsing (\w+: )?", "", message)
    message = re.sub(NO_NUMBER, r"\1 is no number that fits", message)
    near = re.search(r"^--\S+", "\n".join(parts[1:]), re.MULTILINE)
    if near and "nrecognized" in message:
        message += f"; did you mean {near[0].rstrip(',')}?"
    return message
