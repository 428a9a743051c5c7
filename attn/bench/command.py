"""What `launch.py bench` does: picks, runs, writes, and says where."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from attn.bench.suites import SUITES, Ladder, Suite
from attn.errors import UserError

RESULTS = Path("experiments/results/bench")
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Benching:
    """Runs our kernels beside other libraries', in turn, and compares by ratio."""

    suite: Literal["targets", "grid", "quick", "mechanisms"] = "targets"
    """What we hold ourselves to, a wider sweep of shapes, a minute's look, or how time
    and scratch memory of every mechanism grow with the text."""
    only: str = ""
    """A part of the names of cases, or of mechanisms; others are left out."""
    rounds: int = 5
    """Samples of everybody; at least 5."""
    json: bool = False
    """The record as JSON in place of the tables."""
    out: Path | None = None
    """Folder of the results; experiments/results/bench for a whole suite."""


def select(suite: Suite, only: str) -> Suite:
    """The part of `suite` whose names hold `only`; a target stays if its cases do.

    `masks` and `compiling` name what is measured of our kernel alone.

    Raises:
        UserError: nothing is called so.
    """
    races = tuple(race for race in suite.races if only in race.case.name)
    density = suite.density if only in "masks" else ()
    lengths = suite.lengths if only in "compiling" else ()
    ladder = suite.ladder and _part(suite.ladder, only)
    if not (races or density or lengths or ladder):
        parts = "a mechanism's name, as in 'window'"
        if suite.races:
            example = suite.races[0].case.name
            parts = f"a case's name, as in {example!r}, or 'masks', or 'compiling'"
        raise UserError(
            f"--only {only!r} is in no name of the suite; a part of {parts}"
        )
    cases = {race.case for race in races}
    alone = {"density": density, "scratch": lengths, "growth": lengths}
    alone["compile"] = lengths
    targets = tuple(
        target
        for target in suite.targets
        if (
            cases.issuperset(target.cases)
            if target.cases
            else alone.get(target.kind, ladder)
        )
    )
    return replace(
        suite,
        races=races,
        targets=targets,
        density=density,
        lengths=lengths,
        ladder=ladder,
    )


def _part(ladder: Ladder, only: str) -> Ladder | None:
    """The ladder of the mechanisms whose names hold `only`; None if there are none."""
    from attn.kernels import KERNELS

    if not only:
        return ladder
    names = tuple(name for name in ladder.mechanisms or KERNELS if only in name)
    return replace(ladder, mechanisms=names) if names else None


def check(asked: Benching) -> tuple[Suite, Path | None]:
    """The suite to run and the folder to write to, if any.

    Raises:
        UserError: what was asked for cannot be done.
    """
    if asked.rounds < LEAST_ROUNDS:
        raise UserError(
            f"--rounds {asked.rounds}; a median and a spread need at least {LEAST_ROUNDS}"
        )
    suite = select(SUITES[asked.suite], asked.only)
    out = asked.out or (None if asked.only else RESULTS)
    existing = out
    while existing is not None and not existing.exists():
        existing = existing.parent
    if existing is not None and not existing.is_dir():
        raise UserError(f"--out {out}: {existing} is a file; choose a folder")
    return suite, out


def bench(asked: Benching) -> None:
    """Runs what was asked for; prints the tables, or the record as JSON."""
    suite, out = check(asked)

    from rich.console import Console

    from attn.bench.progress import Progress, plan
    from attn.bench.rivals import all_rivals
    from attn.bench.run import run_suite
    from attn.bench.table import to_rich, write

    said = Console(stderr=True)
    with Progress(said, plan(suite, asked.rounds, len(all_rivals()))) as watch:
        record = run_suite(asked.suite, suite, asked.rounds, watch)
    if asked.json:
        print(json.dumps(record.to_json(), indent=2))
    else:
        printer = Console()
        Console(width=None if printer.is_terminal else 160).print(to_rich(record))
    if out is None:
        said.print(
            "a part of a suite: not written; --out DIR writes it", highlight=False
        )
    else:
        written = ", ".join(map(str, write(record, out)))
        said.print(written, highlight=False, soft_wrap=True)
