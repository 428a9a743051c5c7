"""The terminal: its width, lines that fit in it, and what is said of refusals."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def console(*, quiet: bool = False):
    """The console; as wide as a table where there is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, quiet=quiet)


def print_paths(console, *paths: Path) -> None:
    """Prints paths that were written, whatever characters they hold."""
    for path in paths:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)


def successes(
    calls: Sequence[Callable[[], Result]], refusal: type[Exception], said: str
) -> Iterator[Result]:
    """Yields what calls give; of several, one that is refused is named, and left out.

    Raises:
        Exception: the last refusal, where every call is refused.
    """
    count, last = 0, None
    for call in calls:
        try:
            result = call()
        except refusal as error:
            last = error
            if len(calls) > 1:
                print(f"{said}: {error}", file=sys.stderr)
        else:
            count += 1
            yield result
    if not count and last is not None:
        raise last
