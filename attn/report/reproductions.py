"""The list of papers: what of each stands beside ours, and what running it needs."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attn.records.published import Paper, cells
from attn.registry import Reproduction
from attn.tasks.packaged import Packaged
from attn.tasks.packages import digest, find, place

WIDTH = 80
"""The characters of a line."""


@dataclass(frozen=True)
class Listed:
    """A paper, and what its reproductions cost."""

    paper: Paper
    numbers: int
    beside: int
    """Numbers beside which ours stand, or can."""
    minutes: int | float
    """The expected minutes of all of them on two CPU cores."""
    missing: tuple[str, ...]
    """Data packages that they read, and that are not here or damaged."""


def listed(paper: Paper, ours: Sequence[Reproduction]) -> Listed:
    """Counts the numbers of a paper, and says what ours need.

    Columns that the same experiments and steps serve count their minutes once.
    """
    minutes = {(one.experiments, one.steps): one.minutes for one in ours}
    return Listed(
        paper,
        numbers=len(list(cells(paper))),
        beside=sum(len(one.rows) for one in ours),
        minutes=sum(minutes.values()),
        missing=_missing(ours),
    )


def _missing(ours: Sequence[Reproduction]) -> tuple[str, ...]:
    """The data packages of all experiments that `fetch` has yet to get, by name."""
    tasks = [experiment.task for one in ours for experiment in one.experiments]
    read = sorted({task.package for task in tasks if isinstance(task, Packaged)})
    return tuple(
        name for name in read if digest(place(find(name))) != find(name).sha256
    )


def as_lines(rows: Sequence[Listed]) -> list[str]:
    """Each paper in some lines of at most 80 characters, then the command to go on with."""
    lines = [line for row in rows for line in _lines(row)]
    return [
        *lines,
        "",
        "reproduce PAPER: trains or compiles what is missing, and compares",
    ]


def _lines(row: Listed) -> list[str]:
    took = f", {row.minutes:g} min" if row.minutes else ""
    said = f"{row.beside} beside ours{took}" if row.beside else "none beside ours yet"
    needs = f"needs data: fetch {' '.join(row.missing)}" if row.missing else ""
    paper = row.paper
    return [
        f"{paper.name:20} {row.numbers:3} numbers, {said}",
        *_wrapped(needs),
        *_wrapped(f"{paper.title} ({paper.year}), {paper.source}"),
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,  # names of packages have some
    )


def as_json(row: Listed) -> dict[str, Any]:
    """One paper of the list as JSON values."""
    return {
        "paper": row.paper.name,
        "title": row.paper.title,
        "year": row.paper.year,
        "source": row.paper.source,
        "numbers": row.numbers,
        "beside": row.beside,
        "minutes": row.minutes,
        "fetch": list(row.missing),
    }
