"""The process of a command: its signals, its allocator, the compiler's flag.

Imported before anything heavy, so that a signal finds its handler from the first
moment.
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from threading import Lock, Thread
from types import FrameType

from attn.errors import EXIT_STOPPED
from attn.train.signals import NUMBERS

SUPERVISED = "ATTN_SUPERVISED"
"""The variable that tells a process that it is one of several, of a supervisor."""
_ending = Lock()


def prepare(heavy: bool) -> None:
    """Sets up the compiler and the output; restarts the process for a heavy command."""
    from attn import compiler

    os.environ["XLA_FLAGS"] = compiler.flags()
    # Imports and tracing make millions of objects, and look in vain for cycles of them.
    gc.set_threshold(50_000, 10, 10)
    atexit.register(gc.freeze)  # Python would look through all once more as it ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal has no plus-minus
    if heavy:
        _use_huge_pages()


def watch_signals() -> None:
    """Makes a signal end this process at once, even while the main thread compiles.

    A handler in Python waits for the main thread to come back from C++. The number of
    each signal is written to a pipe as it comes, and a thread that reads it calls the
    handler instead, unless a training has put in its own.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in NUMBERS:
        signal.signal(number, end_at_once)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    Thread(target=_read_signals, args=(reader,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def _read_signals(reader: int) -> None:
    while byte := os.read(reader, 1):
        if signal.getsignal(byte[0]) is end_at_once:
            end_at_once(byte[0], None)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler for when there is nothing to save: prints one line and exits."""
    if not _ending.acquire(blocking=False):
        return
    said = (
        f"stopped by {signal.Signals(number).name}; the same command goes on from here"
    )
    shown = "\x1b[?25h" * os.isatty(2)  # a progress bar hides the cursor
    with contextlib.suppress(OSError):
        os.write(2, f"{shown}{said}\n".encode())
    # The holder of the stream's lock may never release it.
    flush = Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(0.5)
    os._exit(EXIT_STOPPED)


def end_with_supervisor() -> None:
    """Makes this process end as soon as its supervisor, if it has one, has ended.

    The supervisor holds the other end of its standard input.
    """

    def wait() -> None:
        # It is reset, and not at its end, where the supervisor did not hear all.
        with contextlib.suppress(ConnectionResetError):
            os.read(0, 1)
        os._exit(EXIT_STOPPED)

    if SUPERVISED in os.environ:
        Thread(target=wait, daemon=True).start()


def tell(root: Path) -> None:
    """Tells the supervisor of this process, if it has one, the folder of its runs."""
    if SUPERVISED in os.environ:
        os.write(0, f"{root.absolute()}\0".encode())


def mute_libraries() -> None:
    """Drops what C++ prints to the standard output of one of several processes.

    Gloo announces each connection there. What Python prints goes where it went.
    """
    before = sys.stdout
    if SUPERVISED not in os.environ or not isinstance(before, TextIOWrapper):
        return
    before.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(  # noqa: SIM115
        kept,
        "w",
        buffering=1 if os.isatty(kept) else -1,
        encoding=before.encoding,
        errors=before.errors,
    )


def _flush() -> None:
    if sys.stdout:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


def _use_huge_pages() -> None:
    """Restarts this process with an allocator that requests huge pages.

    XLA on a CPU allocates its scratch memory for each call, and page faults of small
    pages cost up to a quarter of a training step. glibc reads the setting once, at
    start.
    """
    name, value = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
    if sys.platform == "linux" and name not in os.environ:
        # Signals are blocked until the handlers are installed again.
        signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        environment = os.environ | {name: value}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
