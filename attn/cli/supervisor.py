"""Several processes of one command on this machine: started, watched, and restarted.

They are copies of this command line, told their places by the environment. Where one is
killed, the rest are ended and all begin again from the newest checkpoint. This process
holds the other end of their standard inputs, so none outlives it.
"""

import contextlib
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from attn.cli.door import take_all
from attn.cli.process import SUPERVISED
from attn.errors import EXIT_STOPPED, Failed, UserError
from attn.train.signals import NUMBERS

COMMANDS = ("run", "compare", "sweep", "tune")
"""The commands that --nprocs divides."""
BACK_OFF = (1, 2, 4, 8, 16)
"""Seconds before each restart in a row that finds no more than the one before."""
GRACE_SECONDS = 10.0
"""The time that processes have to end by themselves after one that failed or stopped."""


def asked(words: Sequence[str]) -> int:
    """The number of processes to start for a command line; 1 where none is asked for.

    Raises:
        UserError: the number is not one, does not divide the mesh, or is for jobs.
    """
    if not words or words[0] not in COMMANDS or SUPERVISED in os.environ:
        return 1
    text = _value(words, "--nprocs")
    if text is None or {"-h", "--help"} & {*words}:
        return 1
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--nprocs {text}: give a number of processes, at least 1")
    if (executor := _value(words, "--executor") or "local") != "local":
        raise UserError(
            f"--nprocs {text} starts processes here, and --executor {executor} makes each "
            "run a job elsewhere; leave one of them out"
        )
    count, mesh = int(text), _value(words, "--mesh") or ""
    devices = math.prod(map(int, re.findall(r"=(\d+)", mesh)))
    if devices % count:
        raise UserError(
            f"--nprocs {count} does not divide the {devices} devices of "
            f"--mesh {mesh or 'data=1'}; make the mesh a multiple, as in "
            f"--mesh data={count}"
        )
    typed, _ = take_all(sys.orig_argv, "--experiments")  # which may stand anywhere
    if typed[-len(words) :] != [*words]:
        raise UserError("--nprocs starts this command line again; give it in a shell")
    return count


def _value(words: Sequence[str], option: str) -> str | None:
    """The value of an option in a command line, the last where it is repeated."""
    found = None
    for word, after in zip(words, [*words[1:], ""]):
        if word == option:
            found = after
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def supervise(count: int) -> int:
    """Runs this command line in `count` processes to its end; returns its exit code.

    Raises:
        Failed: a process was killed again and again, and nothing was gained between.
    """
    signals = _Signals()
    seen, idle = set(), 0
    while True:
        with _Group(count, signals) as group:
            index, code = group.wait()
        if signals.came or code >= 0:
            return signals.stopped(index, code)
        gained = group.kept() - seen
        seen, idle = seen | gained, 0 if gained else idle + 1
        why = f"process {index} of {count} was ended by {_name(code)}"
        if idle == len(BACK_OFF):
            raise Failed(
                f"{why}, and {idle} restarts in a row reached no new checkpoint; "
                "the same command goes on from the newest"
            )
        wait = BACK_OFF[idle]
        said = f"{why}; all start again from the newest checkpoint in {wait} s"
        print(said, file=sys.stderr, flush=True)
        signals.sleep(wait)
        if signals.came:
            return signals.stopped(index, code)


def _name(code: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


class _Signals:
    """The signals that come to this process, which are passed on to the others."""

    def __init__(self):
        self.came: str | None = None
        self.group: _Group | None = None
        for number in NUMBERS:
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.came = signal.Signals(number).name
        if self.group is not None:
            self.group.send(number)

    def sleep(self, seconds: float) -> None:
        """Waits so long, or until a signal comes."""
        until = time.monotonic() + seconds
        while not self.came and time.monotonic() < until:
            time.sleep(0.05)

    def explains(self, code: int) -> bool:
        """Whether a process ended by a signal that came, and not by a fault of its own."""
        return self.came is not None and (code < 0 or code == EXIT_STOPPED)

    def stopped(self, index: int, code: int) -> int:
        """The exit code; where a signal ended the processes, also says so."""
        if not self.explains(code) or (index == 0 and code >= 0):
            return code  # that process has said what there is to say
        said = f"stopped by {self.came}; the same command goes on from here"
        print(said, file=sys.stderr, flush=True)
        return EXIT_STOPPED


class _Group:
    """The processes of one attempt; those that are left are killed as `with` ends."""

    def __init__(self, count: int, signals: _Signals):
        self._signals = signals
        logs = (tempfile.TemporaryFile() for _ in range(1, count))  # noqa: SIM115
        self._logs = [None, *logs]
        pairs = [socket.socketpair() for _ in range(count)]
        self._lines = [ours for ours, _ in pairs]
        self._root = ""
        self.processes: list[subprocess.Popen] = []
        address = f"127.0.0.1:{_free_port()}"
        for index, (_, theirs) in enumerate(pairs):
            self.processes.append(self._start(index, count, address, theirs))
            theirs.close()
        signals.group = self
        if signals.came:
            self.send(signal.SIGTERM)

    def _start(
        self, index: int, count: int, address: str, line: socket.socket
    ) -> subprocess.Popen:
        place = {
            SUPERVISED: "1",
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
        }
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=os.environ | place,
            stdin=line.fileno(),
            stdout=None if index == 0 else subprocess.DEVNULL,
            stderr=self._logs[index],
            start_new_session=True,  # the terminal's Ctrl-C comes once, from here
        )

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *_) -> None:
        self._signals.group = None
        for process in self.processes:
            process.kill()
            process.wait()
        with contextlib.suppress(BlockingIOError):
            told = self._lines[0].recv(65536, socket.MSG_DONTWAIT).decode()
            self._root = told.partition("\0")[0]
        for file in (*self._lines, *self._logs[1:]):
            if file is not None:
                file.close()

    def send(self, number: int) -> None:
        """Sends a signal to those that have not ended."""
        for process in self.processes:
            process.send_signal(number)

    def wait(self) -> tuple[int, int]:
        """The process whose end decides, and its exit code, once all can be ended.

        A signal's number is negative. All end well together; after one that does not,
        the others have a time of grace, or none if it was killed.
        """
        while not (bad := {i: c for i, c in self._codes().items() if c}):
            if len(self._codes()) == len(self.processes):
                return 0, 0
            time.sleep(0.02)
        cause = min(bad, key=lambda i: (_rank(bad[i]), i))
        until = time.monotonic() + GRACE_SECONDS
        while bad[cause] > 0 or self._signals.came:
            if len(self._codes()) == len(self.processes) or time.monotonic() > until:
                break
            time.sleep(0.02)
        first = self.processes[0].poll()
        if bad[cause] > 0 and first is not None and first > 0:
            return 0, first
        self._show(cause, bad[cause])
        return cause, bad[cause]

    def _codes(self) -> dict[int, int]:
        """The exit codes of those that have ended."""
        codes = {i: process.poll() for i, process in enumerate(self.processes)}
        return {i: code for i, code in codes.items() if code is not None}

    def _show(self, index: int, code: int) -> None:
        """Prints the last lines of a process that does not print, and failed."""
        if (log := self._logs[index]) is None or self._signals.explains(code):
            return
        log.seek(0)
        for line in log.read().decode(errors="replace").splitlines()[-20:]:
            print(f"process {index}: {line}", file=sys.stderr)

    def kept(self) -> set[str]:
        """The files that outlive the processes: seals of checkpoints, and results."""
        paths = Path(self._root).rglob("*.json") if self._root else ()
        return {str(path) for path in paths}


def _rank(code: int) -> int:
    """The order of exit codes: jax ends a process whose peer has ended otherwise."""
    return 2 if code == -signal.SIGABRT else 1 if code > 0 else 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
