"""The command `fetch`: data packages, which are here, and how to get them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from attn.cli.choosing import Source
from attn.cli.console import console, print_paths
from attn.cli.progress import QUIET_SECONDS
from attn.tasks.packages import PACKAGES, Package, digest, find, place

if TYPE_CHECKING:
    from attn.data.fetch import Tell
    from attn.plots.tables import Table


def fetch(words: Sequence[str], registry: Source) -> int:
    """Gets data packages by name; without a name, prints a table of all."""
    from attn.cli.options import Fetching
    from attn.cli.parsing import parse
    from attn.data.fetch import fetch as get
    from attn.plots.terminal import to_rich

    asked = parse(Fetching, words, prog="launch.py fetch")
    chosen = [find(name) for name in asked.names]  # all, before anything is fetched
    printer = console()
    for package in chosen:
        with _bar(printer, package) as tell:
            path = get(package.name, tell)
        print_paths(printer, path)
    if not chosen:
        printer.print(to_rich([_table()], width=printer.width))
    return 0


def _table() -> "Table":
    """Every package: what it holds, its size, its licence, and whether it is here."""
    from attn.plots.tables import Cell, Column, Row, Table

    columns = (
        Column("package", text=True),
        Column("holds", text=True),
        Column("MB"),
        Column("licence", text=True, spare=1),
        Column("from", text=True, spare=2),
        Column("here", text=True),
    )
    rows = [
        Row(
            (
                Cell(package.name),
                Cell(package.holds),
                Cell(_megabytes(package.size), package.size),
                Cell(package.licence),
                Cell(f"{package.manager}: {package.package} {package.version}"),
                Cell(_state(package)),
            )
        )
        for package in PACKAGES.values()
    ]
    note = f"kept in {place(next(iter(PACKAGES.values()))).parent}"
    return Table("data packages", columns, tuple(rows), note)


def _state(package: Package) -> str:
    found = digest(place(package))
    return {None: "no", package.sha256: "yes"}.get(found, "damaged")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


@contextmanager
def _bar(printer: Console, package: Package) -> "Iterator[Tell]":
    """A bar of one download on a terminal; elsewhere a line every few seconds."""
    if not printer.is_terminal:
        yield _lines(printer, package)
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(24), *columns, console=printer) as bars:
        bar = bars.add_task(package.name, total=package.size)
        yield lambda here: bars.update(bar, completed=here)


def _lines(printer: Console, package: Package) -> "Tell":
    last = -QUIET_SECONDS

    def tell(here: int) -> None:
        nonlocal last
        if time.monotonic() - last > QUIET_SECONDS or here == package.size:
            last = time.monotonic()
            done = f"{_megabytes(here)} of {_megabytes(package.size)} MB"
            printer.print(f"{package.name}: {done}", highlight=False, markup=False)

    return tell
