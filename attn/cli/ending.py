"""Ends of commands: exit codes, and one-line messages for errors of the user."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable

from attn.errors import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, Failed, UserError

_LOST = ("Gloo", "NCCL", "CoordinationService")
"""Words of jax's errors when another process has ended."""
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS),
    *(errno.EACCES, errno.EPERM),
}


def run(command: Callable[[], int]) -> int:
    """Runs a command and returns its exit code, once all output is flushed."""
    try:
        code = command()
        if sys.stdout:
            sys.stdout.flush()
        return code
    except Exception as error:
        end = _known_end(error)
        if end is None:
            _leave_others(error)
            raise
        code, line = end
        if isinstance(error, OSError):
            _drop_output()
        if line:
            with contextlib.suppress(OSError):
                print(" ".join(line.split("\n")), file=sys.stderr, flush=True)
        _leave_others(code)
        return code


def _known_end(error: Exception) -> tuple[int, str] | None:
    """Returns the exit code and message of an expected error; None for any other."""
    if isinstance(error, UserError):
        return EXIT_USAGE, f"error: {error}"
    if isinstance(error, BrokenPipeError):
        return EXIT_FAILED, ""  # the reader of the output is gone
    if isinstance(error, OSError) and error.errno in _DISK:
        return EXIT_FAILED, f"failed: {error}"
    if isinstance(error, MemoryError):
        return EXIT_FAILED, f"failed: out of memory; lower the sizes ({error})"
    if isinstance(error, Failed):
        return EXIT_FAILED, f"failed: {error}"
    # Only an imported exception can have been raised.
    signals = sys.modules.get("attn.train.signals")
    if signals and isinstance(error, signals.Stopped):
        said = f"stopped by {error}; the same command goes on from here"
        return EXIT_STOPPED, said
    return None


def _leave_others(end: int | Exception) -> None:
    """Ends one of several processes at once: as Python ends, it would wait for them."""
    processes = sys.modules.get("attn.parallel.processes")
    if processes is None or not processes.connected():
        return
    if isinstance(end, Exception):
        traceback.print_exception(end)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    if isinstance(end, Exception) and any(word in str(end) for word in _LOST):
        os.abort()  # as jax does where it notices first
    os._exit(EXIT_FAILED if isinstance(end, Exception) else end)


def _drop_output() -> None:
    """Discards output that cannot be printed, so that the interpreter exits quietly."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
