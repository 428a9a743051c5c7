"""Command-line parsing by tyro, with one-line error messages."""

import contextlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Annotated, Any, TypeVar

import tyro

from attn.cli.loggers import Tool
from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.match import Match
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.config.sweep import BY_NAME as NAMED
from attn.config.sweep import set_field
from attn.errors import UserError
from attn.kernels import KERNELS
from attn.tasks import TASKS, Task

T = TypeVar("T")


@dataclass(frozen=True)
class Where:
    """Options for where a command runs and writes; no part of an experiment."""

    workdir: str | None = None
    """Folder of the run, or of a study's runs in subfolders; default runs/NAME."""
    mesh: str = ""
    """Mesh of devices, as in data=2,heads=4; a CPU is split into as many devices."""
    log: tyro.conf.UseAppendAction[tuple[Tool, ...]] = ()
    """Also log for another tool, in its folder below the workdir; repeat it for both."""


@dataclass(frozen=True)
class Sweep(Where):
    """Varies one experiment along some of its fields."""

    over: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Field and values, as in model.num_heads=1,2,4; repeat the option for a grid."""
    match: Match = "none"
    """Cost to hold equal to the experiment's own, by d_ff, head_dim or kv_rank."""
    seeds: int | None = None
    """Replicas of each; default as in the experiment."""


@dataclass(frozen=True)
class Tune:
    """Finds the peak learning rate of each model, then trains fresh seeds at it."""

    over: str | None = None
    """Rates, as in train.peak_lr=1e-3,3e-3; default five around each one's own."""
    trials: int = 1
    """Seeds of each rate; all rates have the same."""


@dataclass(frozen=True)
class Reproducing(Where):
    """Trains what a paper's numbers are compared with, and compares."""

    have: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Folder of finished runs, at any depth, that need not be trained again."""
    json: bool = False
    """Print JSON: every number, ours and the verdict."""


@dataclass(frozen=True)
class Auditing:
    """Solves a task without attention: by position, by copies, by tables of tokens."""

    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Power:
    """Trains replicas of an experiment or a study, or reads runs, and says their noise."""

    seeds: int = 5
    """Replicas of each, under one vmap; more make the spread surer."""


@dataclass(frozen=True)
class Evaluating:
    """Evaluates finished runs; --task.seq-len and other options of their task change it."""

    split: str = "test"
    """Split to evaluate: train, valid or test."""
    json: bool = False
    """Print JSON, one number a seed."""


@dataclass(frozen=True)
class Listing:
    """Lists all experiments and studies."""

    json: bool = False
    """Print a JSON array, not a table."""
    all: bool = False
    """List the experiments of each study too."""


@dataclass(frozen=True)
class Showing:
    """Prints a config with everything resolved, and its costs; compiles nothing."""

    json: bool = False
    """Print a JSON array, not a table."""
    save: str | None = None
    """File to write one experiment to, NAME.json, which `run` takes in place of a name."""


@dataclass(frozen=True)
class Reporting:
    """Makes tables, plots and one offline page from run folders."""

    directories: tyro.conf.Positional[tuple[str, ...]]
    """Folders that hold run folders, at any depth; links are followed."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A run's name, with * for any letters; repeat the option for more."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A field and its value, as in model.num_heads=8; repeat it to narrow further."""
    out: str | None = None
    """Folder to write to; default the directory, if it is one."""
    readme: str | None = None
    """A Markdown file in which to replace the results between its markers."""
    svg: bool = False
    """Write the pictures as SVG too."""


def _one_of(what: str, known: Iterable[str]) -> Any:
    """Help that lists the names of an option."""
    return tyro.conf.arg(
        help=f"The {what}, followed by its own options: {', '.join(known)}."
    )


@dataclass(frozen=True)
class Overrides(Where):
    """Options that override fields of an experiment, and where it runs."""

    model: ModelConfig = ModelConfig()
    task: Task = Task()
    train: TrainConfig = TrainConfig()
    seeds: int = 3
    """Replicas, each with its own initialisation and order of the data."""
    kernel: Annotated[
        str | None, _one_of("mechanism of `attention` layers", KERNELS)
    ] = None
    optimizer: Annotated[str | None, _one_of("update rule", OPTIMIZERS)] = None
    schedule: Annotated[str | None, _one_of("rate after the warm-up", SCHEDULES)] = None
    task_: Annotated[
        str | None,
        tyro.conf.arg(
            name="task",
            help=f"Task, followed by its own options: {', '.join(TASKS)}; your own data as "
            "text:FILE, text:FOLDER, csv:FILE or tfds:NAME.",
        ),
    ] = None


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
            chosen.model.require_read(field.name)
    changed = {name: getattr(chosen, name) for name in same}
    return replace(experiment, **changed), Where(
        chosen.workdir, chosen.mesh, chosen.log
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
