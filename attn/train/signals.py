"""A request to stop, from the shell or from a scheduler that takes the machine back."""

import signal
from types import FrameType

EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped by a signal, and resumable."""


class Stopped(Exception):
    """A signal asked the run to stop; what was done is saved."""


class StopSignal:
    """Inside `with`, SIGTERM and SIGINT are remembered, and no longer kill.

    A second SIGINT interrupts at once, for whoever cannot wait for the save.
    """

    def __init__(self):
        self.requested: str | None = None

    def __enter__(self) -> "StopSignal":
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._before = {n: signal.signal(n, self._remember) for n in numbers}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name

    def check(self) -> None:
        """Raises `Stopped` if a signal has come."""
        if self.requested:
            raise Stopped(self.requested)
