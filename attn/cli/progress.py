"""Progress of runs for whoever waits: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

QUIET_SECONDS = 5.0
"""Between plain lines, so that a log stays short."""


class Watch:
    """A `Watcher` of one run after another; use it in a `with`."""

    def __init__(self, console: Console, total_steps: int):
        self.console = console
        self._rich = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._total, self._before, self._done = total_steps, 0, 0
        self._here = self._seen = 0
        self._begin = self._last = time.monotonic()
        self._name, self._bar, self._all = "", None, None

    def __enter__(self) -> "Watch":
        if self._rich:
            self._bars.start()
            self._all = self._bars.add_task("all runs", total=self._total, detail="")
        return self

    def __exit__(self, *_) -> None:
        if self._rich:
            self._bars.stop()

    def begin(self, name: str, steps: int) -> None:
        """A run starts; the one before has ended, or failed."""
        self._before += self._here
        self._name, self._here, self._seen = name, steps, 0
        self._done = self._before
        self._begin_run = time.monotonic()
        if self._rich:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._bar = self._bars.add_task(name, total=steps, detail="compiling")
        else:
            self.console.print(f"{name}: {steps} steps", highlight=False)

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"{self._name}: {text}", highlight=False, markup=False)

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """`step` of `steps` are done."""
        self._done = self._before + step
        detail = _detail(values)
        if self._rich and self._bar is not None and self._all is not None:
            self._bars.update(self._bar, completed=step, detail=detail)
            self._bars.update(self._all, completed=self._done)
        now = time.monotonic()
        if not self._rich and (now - self._last > QUIET_SECONDS or step == steps):
            self._last = now
            self.console.print(
                f"{self._name}: step {step}/{steps}, {detail}, {self._left(now)}",
                highlight=False,
            )

    def _left(self, now: float) -> str:
        """The time that is left for all runs, at the pace so far."""
        left = (self._total - self._done) * (now - self._begin) / max(self._done, 1)
        return (
            f"{left / 60:.1f} min left of all"
            if left >= 60
            else f"{left:.0f} s left of all"
        )


def _detail(values: Mapping[str, Any]) -> str:
    losses = values["train_loss"]
    text = f"loss {sum(losses) / len(losses):.3f}, {values['step_ms']:.1f} ms/step/seed"
    if "valid" in values:
        scores = values["valid"]
        name = "bits_per_byte" if "bits_per_byte" in scores else "accuracy"
        mean = sum(scores[name]) / len(scores[name])
        text += f", valid {name.replace('_', ' ')} {mean:.3f}"
    return text
