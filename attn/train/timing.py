"""Wall times of a run: medians that no compilation or evaluation spoils."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from attn.records.result import Clocks


class Timing:
    """Clocks of one run of some replicas.

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
        """Takes over what an earlier process measured."""
        self._step_ms = [*clocks.step_ms, *self._step_ms]
        self._host_ms = [*clocks.host_ms, *self._host_ms]
        self._compile += clocks.compile_seconds
        self._begin -= clocks.wall_seconds

    @property
    def clocks(self) -> Clocks:
        """All that was measured, for a process that continues."""
        each = tuple(self._step_ms), tuple(self._host_ms)
        return Clocks(*each, self._compile, self.seconds)

    @contextmanager
    def host(self, steps: int) -> Iterator[None]:
        """Around what Python does for a call: fetch, hand over, return."""
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        self._host_ms.append(1e3 * (end - start) / steps)
        self._handed.append(end)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Around a compilation, which is no part of the call that waits for it."""
        start = time.perf_counter()
        yield
        self._compile += time.perf_counter() - start
        self._handed[-1] = time.perf_counter()
        self._host_ms.pop()

    def finished(self, steps: int) -> None:
        """The oldest call handed over has ended."""
        now = time.perf_counter()
        start = max(self._handed.pop(0), self._ended)
        self._ended = now
        self._step_ms.append(1e3 * (now - start) / steps / self._replicas)

    @property
    def last_step_ms(self) -> float:
        """Milliseconds a step of one replica, in the call that ended last."""
        return self._step_ms[-1]

    @property
    def seconds(self) -> float:
        """Since the run began, without what lies between its processes."""
        return time.perf_counter() - self._begin

    def summary(self) -> dict[str, float | None]:
        """The times of a `Result`; medians over calls."""
        return {
            "step_ms": median(self._step_ms) if self._step_ms else None,
            "host_ms": median(self._host_ms) if self._host_ms else None,
            "compile_seconds": self._compile,
            "wall_seconds": self.seconds,
        }
