"""The terminal: its width, and lines that fit in it."""

import sys
from pathlib import Path


def console(*, quiet: bool = False):
    """The console; as wide as a table where there is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, quiet=quiet)


def print_paths(console, *paths: Path) -> None:
    """Prints paths that were written, whatever characters they hold."""
    for path in paths:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
