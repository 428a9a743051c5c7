"""The command `launch.py bench`: selects, runs and writes benchmarks."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from attn.bench.suite import Suite
from attn.errors import UserError, unknown

LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Benching:
    """Runs our kernels and other libraries' interleaved, and compares them by ratio."""

    suite: str = "targets"
    """targets: the performance targets of this package; grid: a wider sweep of shapes;
    quick: one minute; mechanisms: how time and scratch memory of each grow with
    length; decoding: how the time of a step does; models: whole models beside
    PyTorch's, generating and training; gpu: kernels on an NVIDIA GPU beside
    PyTorch's and flash-linear-attention's."""
    only: str = ""
    """Part of the names of cases, models or mechanisms; others are skipped."""
    rounds: int = 5
    """Samples of each runner; at least 5."""
    json: bool = False
    """The record as JSON in place of the tables."""
    out: str | None = None
    """Folder of the results; experiments/results/bench for a whole suite."""


def check(
    asked: Benching, suites: Mapping[str, Suite], results: Path
) -> tuple[Suite, Path | None]:
    """Returns the suite to run, and the folder to write to, if any.

    Args:
        asked: the parsed command line.
        suites: all suites by name.
        results: the default folder for a whole suite.

    Raises:
        UserError: the request cannot be met.
    """
    if asked.suite not in suites:
        raise unknown("suite", asked.suite, suites)
    if asked.rounds < LEAST_ROUNDS:
        raise UserError(
            f"--rounds {asked.rounds}; a median and a spread need at least {LEAST_ROUNDS}"
        )
    suite = suites[asked.suite].part(asked.only)
    whole = None if asked.only else results
    return suite, whole if asked.out is None else Path(asked.out)


def bench(
    asked: Benching,
    suites: Mapping[str, Suite],
    results: Path,
    progress: Callable[[Console, float], AbstractContextManager],
) -> None:
    """Runs the selected benchmarks; prints their tables, or the record as JSON.

    Args:
        asked, suites, results: as in `check`.
        progress: makes the display, a `Watcher`, of a console and the total work.
    """
    suite, out = check(asked, suites, results)

    from attn.bench.run import run_suite, total_work
    from attn.bench.table import to_rich, write

    said = Console(stderr=True)
    with progress(said, total_work(suite, asked.rounds)) as watch:
        record = run_suite(asked.suite, suite, asked.rounds, watch)
    if asked.json:
        print(json.dumps(record.to_json(), indent=2))
    else:
        printer = Console()
        Console(width=None if printer.is_terminal else 160).print(to_rich(record))
    written = "a part of a suite: not written; --out DIR writes it"
    if out is not None:
        written = ", ".join(map(str, write(record, out)))
    said.print(written, highlight=False, soft_wrap=True)
