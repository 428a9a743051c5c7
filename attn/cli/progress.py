"""Progress of work in parts: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from attn.cli.loggers import Logger, numbers
from attn.plots.units import metric_label, metric_text
from attn.records.estimates import estimate
from attn.records.result import Result

QUIET_SECONDS = 5.0
"""Seconds between plain lines, so that a log stays short."""


class Watch:
    """A progress display over parts, such as runs or races; use it in a `with`."""

    def __init__(
        self,
        console: Console,
        total: float | int,
        logs: Sequence[Logger] = (),
        *,
        live: bool = True,
    ):
        """Expects `total` units of work, as counted by `begin`.

        Without `live` nothing is drawn between calls, where a clock is running. What is
        reported goes into `logs` too.
        """
        self.console, self._logs = console, logs
        self._rich = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %  {task.fields[detail]}"),
            console=console,
            auto_refresh=live,
        )
        self._all = self._bars.add_task("in all", total=total, detail="")
        self._bar = self._bars.add_task("", total=1, detail="", visible=False)
        self._total, self._before, self._done, self._work = total, 0.0, 0.0, 0.0
        self._name, self._begin, self._last = "", time.monotonic(), 0.0
        self._first_seed = 0

    def __enter__(self) -> "Watch":
        if self._rich:
            self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        if self._rich:
            self._bars.stop()
        for log in self._logs:
            log.close()

    def begin(
        self,
        name: str,
        steps: int,
        work: float | int | None = None,
        *,
        first_seed: int = 0,
    ) -> None:
        """Starts a part; the previous one has ended, or failed.

        `work` is its share of the total: its steps unless given. Values of several seeds
        are those from `first_seed` on.
        """
        self._before += self._work
        self._name, self._work = name, steps if work is None else work
        self._first_seed = first_seed
        self._done, self._last = self._before, time.monotonic()
        if not self._rich:
            self._print(f"{name}: {steps} steps")
        self._draw(0, steps, "compiling")

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        self._print(f"{self._name}: {text}" if self._name else text)

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """Reports that `step` of `steps` are done; `values` as in `metrics.jsonl`."""
        for log in self._logs:
            log.log(self._name, step, numbers(values, self._first_seed))
        self._done = self._before + self._work * step / steps
        now = time.monotonic()
        detail = ", ".join([f"step {step}/{steps}", *_details(values), self._left(now)])
        self._draw(step, steps, detail)
        if not self._rich and (now - self._last > QUIET_SECONDS or step == steps):
            self._last = now
            self._print(f"{self._name}: {detail}")

    def within(self, step: int, steps: int) -> None:
        """Reports that `step` of `steps` are done, where there are no values yet."""
        self._done = self._before + self._work * step / steps
        now = time.monotonic()
        detail = f"step {step}/{steps}"
        self._draw(step, steps, detail)
        if not self._rich and now - self._last > QUIET_SECONDS:
            self._last = now
            self._print(f"{self._name}: {detail}")

    def end(self, result: Result, seconds: float) -> None:
        """Leaves the line of a run that has ended: its score and its time."""
        scores = (result.test or {}).get(result.metric)
        if scores:
            score = metric_text(result.metric, estimate(scores))
            self.note(f"{score} {metric_label(result.metric)}, {seconds:.0f} s")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _draw(self, step: int, steps: int, detail: str) -> None:
        if self._rich:
            name, detail = escape(self._name), escape(detail)
            self._bars.update(
                self._bar,
                description=name,
                completed=step,
                total=steps,
                detail=detail,
                visible=True,
            )
            self._bars.update(self._all, completed=self._done)
            self._bars.refresh()

    def _left(self, now: float) -> str:
        """The time left for all parts, at the pace so far."""
        left = (self._total - self._done) * (now - self._begin) / max(self._done, 1e-9)
        return (
            f"{left / 60:.1f} min left of all"
            if left >= 60
            else f"{left:.0f} s left of all"
        )


def _details(values: Mapping[str, Any]) -> list[str]:
    """The values to display: mean loss, pace and score of training, or all values."""
    if "train_loss" not in values:
        return [f"{name} {value}" for name, value in values.items()]
    words = [f"loss {_mean(values['train_loss']):.3f}"]
    words.append(f"{values['step_ms']:.1f} ms/step/seed")
    if "valid" in values:
        scores = values["valid"]
        own = (n for n in scores if n.startswith(("bits_per_", "exact_")))
        name = next(own, "accuracy")
        words.append(f"valid {name.replace('_', ' ')} {_mean(scores[name]):.3f}")
    return words


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
