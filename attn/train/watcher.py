"""The interface of a progress display of runs."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from attn.records.result import Result


@runtime_checkable
class Watcher(Protocol):
    """A progress display of runs."""

    def begin(self, name: str, steps: int, *, first_seed: int = 0) -> None:
        """Starts the display of a run of `steps`; the previous one has ended."""

    def note(self, text: str) -> None:
        """Prints one line."""

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """Reports that `step` of `steps` are done, with a line of `metrics.jsonl`."""

    def within(self, step: int, steps: int) -> None:
        """Reports that `step` of `steps` are done, within a call that goes on."""

    def end(self, result: Result, seconds: float) -> None:
        """Reports the result of a run that has ended, after these seconds."""
