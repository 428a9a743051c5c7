"""Progress of a benchmark: a bar on a terminal, plain lines elsewhere.

Nothing is drawn while a call is being timed: the bar moves between samples, from the
thread that measures.
"""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from attn.bench.cases import Race
from attn.bench.entrants import entrants
from attn.bench.suites import Suite

COMPILATION, PREPARATION = 1.5, 3.0
"""Seconds assumed of one, before anything is known."""
PACE = 60e9
"""FLOP/s assumed of a rival, likewise."""


def plan(suite: Suite, rounds: int, rivals: int) -> list[tuple[float, int]]:
    """For each part of a suite in order: seconds by a rough guess, and its samples."""
    parts = [(3 * COMPILATION, 3)] * len(suite.lengths)
    races = list(suite.races)
    if suite.ladder:
        names = tuple(one.name for one in entrants(suite.ladder))
        races += [Race(case, names) for case in suite.ladder.cases]
    for race in races:
        runners = len(race.rivals) or rivals
        calls = (runners - 1) * (rounds + 3) + 4  # ours counts little
        flops = race.case.useful_flops / race.case.density
        parts.append((runners * PREPARATION + calls * flops / PACE, runners * rounds))
    for backward in (False, True):
        group = [case for case in suite.density if case.backward == backward]
        if group:
            flops = sum(case.useful_flops for case in group)
            work = (rounds + 3) * flops / PACE + len(group) * PREPARATION
            parts.append((work, len(group) * rounds))
    return parts


class Progress:
    """Tells whoever waits where a suite is, and the time left; use it in a `with`."""

    def __init__(self, console: Console, parts: Sequence[tuple[float, int]]):
        self.console = console
        self._parts = list(parts)
        self._guess = sum(seconds for seconds, _ in parts)
        self._past = self._here = self._samples = 0.0
        self._index = -1
        self._start = time.monotonic()
        self._name = ""
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            auto_refresh=False,
        )
        self._task = self._bars.add_task("starting", total=len(parts), detail="")

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, name: str) -> None:
        """The next part starts."""
        self._name, self._index, self._here = name, self._index + 1, 0.0
        self.stage("")

    def stage(self, text: str) -> None:
        """What of the part is being done."""
        self._draw(text)

    def tick(self) -> None:
        """One sample of the part is taken."""
        self._here += 1
        self._draw(f"{self._left()} left")

    def done(self, text: str) -> None:
        """The part has ended; `text` is what it found."""
        self._past += self._parts[self._index][0]
        self._here = 0.0
        left = "" if self._index + 1 == len(self._parts) else f"; {self._left()} left"
        self.note(f"{self._name}: {text}{left}")
        self._bars.update(self._task, completed=self._index + 1)

    def _draw(self, detail: str) -> None:
        if self.console.is_terminal:
            self._bars.update(self._task, description=self._name, detail=detail)
            self._bars.refresh()

    def _left(self) -> str:
        """The time left for all parts: the guess, at the pace so far."""
        done = self._past
        if self._here:
            seconds, samples = self._parts[self._index]
            done += seconds * min(self._here / samples, 1.0)
        spent = time.monotonic() - self._start
        left = (self._guess - done) * spent / max(done, 1e-9)
        return f"{left / 60:.1f} min" if left >= 60 else f"{left:.0f} s"
