"""Requests to stop, from the shell or from a scheduler that preempts the machine."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal asked the run to stop; its progress is saved."""


class StopSignal:
    """Records SIGTERM and SIGINT inside `with`, where they no longer kill.

    A second SIGINT goes to the previous handler, for users who cannot wait for the
    save.

    Args:
        share: tells several processes of a run what any of them has received. A request
            then counts from the next `agree`, in all.
    """

    def __init__(self, share: Callable[[str | None], str | None] | None = None):
        self.requested: str | None = None
        self._share = share
        self._came: str | None = None
        self._before: list[dict] = []

    def __enter__(self) -> "StopSignal":
        self._before.append({n: signal.signal(n, self._remember) for n in NUMBERS})
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.pop().items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets a signal end the process inside `with`, where there is nothing to save.

        Raises:
            Stopped: one has come already.
        """
        self.check()
        here = {n: signal.getsignal(n) for n in NUMBERS}
        outermost = self._before[0] if self._before else here
        try:
            for number, handler in outermost.items():
                signal.signal(number, handler)
            yield
        finally:
            for number, handler in here.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        before = self._before[0][number]
        if self._came and number == signal.SIGINT and callable(before):
            before(number, frame)
        self._came = signal.Signals(number).name
        if self._share is None:
            self.requested = self._came

    def agree(self) -> None:
        """Takes notice of what came to any process; all call this at the same step."""
        if self._share is not None and not self.requested:
            self.requested = self._share(self._came)

    def check(self) -> None:
        """Raises `Stopped` if a signal has come."""
        if self.requested:
            raise Stopped(self.requested)
