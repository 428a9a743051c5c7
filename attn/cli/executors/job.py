"""Jobs: a run as a command line, and the process that runs it on whatever machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread

from attn.errors import EXIT_STOPPED

TIED = Path(__file__).with_name("tied.py")
PLACE = (
    *("ATTN_SUPERVISED", "JAX_COORDINATOR_ADDRESS"),
    *("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
)
"""Variables that tell a process its place among several; a job is alone."""
POLL_S = 0.2
"""Seconds between looks at a process; a signal is handled in between."""


@dataclass(frozen=True)
class Job:
    """One run as a command, in plain values, so that any engine can carry it."""

    name: str
    command: tuple[str, ...]
    folder: str
    """The folder to start it in."""
    env: tuple[tuple[str, str], ...]
    """Variables that it needs, beside those of the machine."""
    log: str
    """The file for what it prints; each attempt begins with a line on the machine."""

    def log_bytes(self) -> int:
        """The length of the log, which grows when an attempt begins."""
        path = Path(self.log)
        return path.stat().st_size if path.exists() else 0

    def run(self) -> int:
        """Runs the command to its end; returns its exit code, negative for a signal."""
        with Process(self).ended_with_this() as process:
            return process.wait()


class Process:
    """The process of a job; it does not outlive this one."""

    def __init__(self, job: Job):
        tied = [sys.executable, str(TIED), str(os.getpid()), *job.command]
        given = os.environ | dict(job.env)
        with open(job.log, "ab") as log:
            log.write(f"--- on {socket.gethostname()}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                tied,
                cwd=job.folder,
                env={name: given[name] for name in given if name not in PLACE},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the launcher
            )

    def wait(self) -> int:
        """Waits for its end; returns the exit code, negative for a signal."""
        while not self._has_ended():
            time.sleep(POLL_S)
        return self._process.returncode

    def end(self) -> None:
        """Asks it to save and end, and waits; a signal handler may call it."""
        self.ask()
        self.wait()

    def ask(self) -> None:
        """Asks it to save and end."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    @contextmanager
    def ended_with_this(self) -> Iterator["Process"]:
        """Passes SIGTERM on inside `with`, and ends the process where that is left early."""
        before, main = None, current_thread() is main_thread()
        if main:
            before = signal.signal(signal.SIGTERM, lambda *_: self.ask())
        try:
            yield self
        except BaseException:
            self.end()
            raise
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)

    def _has_ended(self) -> bool:
        # `Popen.poll` holds a lock, which a signal handler may find taken.
        if self._process.returncode is None:
            try:
                pid, status = os.waitpid(self._process.pid, os.WNOHANG)
            except ChildProcessError:  # seen to end by the call that a handler is in
                self._process.returncode = EXIT_STOPPED
            else:
                if pid:
                    self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode is not None
