"""How a command ends: its exit code, and one line for each end that is no bug."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from attn.errors import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, UserError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}


def run(command: Callable[[], int]) -> int:
    """The exit code of a command, once all it printed is out."""
    try:
        code = command()
        if sys.stdout:
            sys.stdout.flush()
        return code
    except Exception as error:
        end = _known_end(error)
        if end is None:
            raise
        code, line = end
        if isinstance(error, OSError):
            _drop_output()
        if line:
            with contextlib.suppress(OSError):
                print(" ".join(line.split("\n")), file=sys.stderr, flush=True)
        return code


def _known_end(error: Exception) -> tuple[int, str] | None:
    """The exit code and the line of an end that is no bug; None for the others."""
    if isinstance(error, UserError):
        return EXIT_USAGE, f"error: {error}"
    if isinstance(error, BrokenPipeError):
        return EXIT_FAILED, ""  # whoever read the output has gone
    if isinstance(error, OSError) and error.errno in _DISK:
        return EXIT_FAILED, f"failed: {error}"
    if isinstance(error, MemoryError):
        return EXIT_FAILED, f"failed: out of memory; lower the sizes ({error})"
    # Only what is imported can have been raised.
    signals, loop = (sys.modules.get(f"attn.train.{m}") for m in ("signals", "loop"))
    if signals and isinstance(error, signals.Stopped):
        said = f"stopped by {error}; the same command goes on from here"
        return EXIT_STOPPED, said
    if loop and isinstance(error, loop.Diverged):
        return EXIT_FAILED, f"failed: {error}"
    return None


def _drop_output() -> None:
    """Lets what could not be printed go, so that the interpreter's end says nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
