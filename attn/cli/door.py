"""The door: a command word, and what does it; the same for `launch.py` and `attn`."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

HELP = ("-h", "--help", "help")
COMMANDS = {
    "list": "commands.list_",
    "show": "commands.show",
    "compare": "training.compare",
    "run": "training.run",
    "sweep": "training.sweep",
    "tune": "tuning.tune",
    "reproduce": "reproducing.reproduce",
    "audit": "auditing.audit",
    "plan": "planning.plan",
    "power": "power.power",
    "report": "reporting.report",
    "evaluate": "evaluating.evaluate",
    "generate": "generating.generate",
    "inspect": "inspecting.inspect",
    "swap": "swapping.swap",
    "bench": "commands.bench",
    "fetch": "fetching.fetch",
}
"""The function of `attn.cli` that runs each command."""
HEAVY = (
    "run",
    "compare",
    "sweep",
    "tune",
    "reproduce",
    "power",
    "evaluate",
    "generate",
    "inspect",
    "swap",
    "bench",
)
"""Commands that compile and compute."""
USAGE = """The command line of the laboratory.

    list [--all] [--json]     studies, claims, minutes; --all: their experiments
    list mechanisms           what may be named; also tasks, optimizers, schedules
    show NAME [overrides]     config, parameters, FLOPs, bytes; --json, --save FILE
    compare [--all]           dense, sparse and low-rank in one table
    run NAME [overrides]      an experiment or a study, resumed by itself
    sweep NAME --over model.num_heads=1,2,4 --match params
    tune NAME --over train.peak_lr=1e-3,3e-3,1e-2
    reproduce [PAPER]         published numbers beside ours, with verdicts
    audit TASK                what solvers without attention find of a task
    plan NAME --on v5p:8x8x8  whether a step fits devices that are not here, and its cost
    power NAME|DIR            the smallest difference that seeds show, seeds needed
    report DIR                tables, plots and a page from run folders
    evaluate DIR              its runs on a split, at another length: --task.seq-len
    generate DIR|FOLDER       text from a run, or from pretrained weights
    inspect DIR|FOLDER --text "..."   where heads look: maps, a page, tables
    inspect NAME              how far cheaper attention is from softmax
    swap FOLDER               how much attention pretrained weights need
    bench [--json]            our kernels beside other libraries', by ratio
    fetch [NAME ...]          data packages that tasks read; alone: lists them

NAME is as `list` says, or a file that `show --save` wrote. --experiments FILE.py, anywhere,
registers experiments, mechanisms and tasks of your own. Each command has --help. An
override names a field: --model.num-heads 8, --train.steps 2000, --kernel linear,
--optimizer lion. Exit codes: 0 done, 1 failed, 2 what you typed is wrong, 75 stopped by a
signal and resumable by the same command.
"""


def prepare(words: Sequence[str]) -> None:
    """Sets up this process for a command line: signals, the compiler, the allocator."""
    from attn.cli import process

    process.watch_signals()
    process.end_with_supervisor()
    if COMMANDS.keys() & {*words}:
        process.prepare(heavy=not {*HEAVY}.isdisjoint(words))


def run(
    words: Sequence[str],
    load: Callable[[Sequence[str]], Any],
    benchmarks: Callable[[], Any],
) -> int:
    """Runs one command; returns its exit code.

    Args:
        load: returns the registry, with what these files register.
        benchmarks: returns the suites of `bench`, and the folder of their results.
    """
    from attn.cli import ending

    return ending.run(lambda: _command(words, load, benchmarks))


def _command(words, load, benchmarks) -> int:
    words, files = take_all(words, "--experiments")
    if not words or words[0] in HELP:
        print(USAGE)
        return 0
    if words[0] == "--version":
        from attn import __version__

        print(f"attn {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from attn.errors import unknown

        raise unknown("command", words[0], COMMANDS)

    if any(word.startswith("--nprocs") for word in words):
        from attn.cli import supervisor

        if (count := supervisor.asked(words)) > 1:
            return supervisor.supervise(count)

    room, _, function = COMMANDS[words[0]].partition(".")
    command = getattr(import_module(f"attn.cli.{room}"), function)
    if words[0] == "bench":
        return command(words[1:], benchmarks)
    return command(words[1:], cache(lambda: load(files)))


def take_all(words: Sequence[str], option: str) -> tuple[list[str], list[str]]:
    """Splits an option that may be repeated off a command line, and its values."""
    from attn.errors import UserError

    rest, values, waiting = [], [], iter(words)
    for word in waiting:
        if word == option:
            value = next(waiting, None)
            if value is None:
                raise UserError(f"{option} needs a file; name one")
            values.append(value)
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, values
