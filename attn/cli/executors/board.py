"""The display of jobs: a bar on a terminal, plain lines elsewhere."""

from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

STATES = ("waiting", "running", "done", "failed")


class JobBoard:
    """A display of how many jobs are waiting, running, done and failed; use it in a `with`."""

    def __init__(self, console: Console, total: int):
        self._console, self._shown = console, ""
        self._bars = Progress(
            TextColumn("jobs"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._bar = self._bars.add_task("", total=total, detail="")

    def __enter__(self) -> "JobBoard":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, counts: Counter[str]) -> None:
        """Shows the counts; where there is no terminal, in a line when they change."""
        detail = ", ".join(f"{counts[state]} {state}" for state in STATES)
        ended = counts["done"] + counts["failed"]
        self._bars.update(self._bar, completed=ended, detail=detail)
        if not self._console.is_terminal and detail != self._shown:
            self.note(f"jobs: {detail}")
        self._shown = detail
