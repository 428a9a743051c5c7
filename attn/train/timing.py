"""Wall times of a run: medians over calls, without compilation and evaluation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from attn.records.result import Clocks

SLICE_SECONDS = 1.0
"""The time after which progress is shown and a signal obeyed."""


class Pace:
    """The number of steps that take about a second, by the last that were timed."""

    def __init__(self):
        self._seconds: float | None = None

    def took(self, seconds: float, steps: int) -> None:
        """Takes notice of the time of some steps."""
        self._seconds = seconds / steps

    @property
    def steps(self) -> int:
        """The steps of the next slice; 1 until any was timed."""
        if self._seconds is None:
            return 1
        return max(1, int(SLICE_SECONDS / max(self._seconds, 1e-9)))


class Timing:
    """The clocks of one run.

    A call's time runs from when the device could begin it, which is when it was handed
    over or when the one before ended, to when its metrics were there.
    """

    def __init__(self, replicas: int):
        self._replicas = replicas
        self._begin = time.perf_counter()
        self._handed: list[float] = []
        self._ended = 0.0
        self._step_ms: list[float] = []
        self._host_ms: list[float] = []
        self._compile = 0.0

    def continue_from(self, clocks: Clocks) -> None:
        """Continues from the clocks of an earlier process."""
        self._step_ms = [*clocks.step_ms, *self._step_ms]
        self._host_ms = [*clocks.host_ms, *self._host_ms]
        self._compile += clocks.compile_seconds
        self._begin -= clocks.wall_seconds

    @property
    def clocks(self) -> Clocks:
        """All that was measured, for a process that continues the run."""
        each = tuple(self._step_ms), tuple(self._host_ms)
        return Clocks(*each, self._compile, self.seconds)

    @contextmanager
    def host(self, steps: int) -> Iterator[None]:
        """Times the Python part of a call inside `with`: its batches, to the device."""
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        self._host_ms.append(1e3 * (end - start) / steps)
        self._handed.append(end)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Times a compilation inside `with`, apart from the call that waits for it."""
        start = time.perf_counter()
        yield
        self._compile += time.perf_counter() - start
        self._handed[-1] = time.perf_counter()
        self._host_ms.pop()

    def finished(self, steps: int) -> None:
        """Records that the oldest dispatched call has ended."""
        now = time.perf_counter()
        start = max(self._handed.pop(0), self._ended)
        self._ended = now
        self._step_ms.append(1e3 * (now - start) / steps / self._replicas)

    @property
    def last_step_ms(self) -> float:
        """Milliseconds a step of one replica, in the last call that ended."""
        return self._step_ms[-1]

    @property
    def seconds(self) -> float:
        """Seconds since the run began, without gaps between its processes."""
        return time.perf_counter() - self._begin

    def summary(self) -> dict[str, float | None]:
        """The times of a `Result`; medians over calls."""
        return {
            "step_ms": median(self._step_ms) if self._step_ms else None,
            "host_ms": median(self._host_ms) if self._host_ms else None,
            "compile_seconds": self._compile,
            "wall_seconds": self.seconds,
        }
