"""Supervision of jobs: submitted until each run has ended, and again where one was killed."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from attn.cli.executors.job import Job
from attn.config import Experiment
from attn.errors import EXIT_FAILED, EXIT_USAGE
from attn.plots.units import metric_label, metric_text
from attn.records.estimates import estimate
from attn.records.files import read_json_or_none
from attn.records.folder import RunFolder
from attn.records.result import Result
from attn.train.signals import Stopped, StopSignal

TRIES = 5
"""How often a job is submitted, at most, while its run has not ended."""
POLL_S = 1.0
"""Seconds between looks at all jobs."""
SAVE_S = 60.0
"""The most seconds that cancelled jobs are waited for while they save."""


@runtime_checkable
class Handle(Protocol):
    """A job that an engine was given."""

    def begun(self) -> bool:
        """Whether its command runs on a machine."""
        ...

    def ended(self) -> bool:
        """Whether it has ended, and does not run again by itself."""
        ...

    def code(self) -> int | None:
        """The exit code of its command; None where the job itself was killed."""
        ...

    def cancel(self) -> None:
        """Asks it to save and end, or takes it off the queue."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A system that runs jobs."""

    def submit(self, jobs: Sequence[Job]) -> Sequence[Handle]:
        """Submits jobs; returns a handle of each."""
        ...

    def close(self) -> None:
        """Lets go of the system; all jobs have ended."""
        ...


@runtime_checkable
class Board(Protocol):
    """A display of jobs."""

    def note(self, text: str) -> None:
        """Prints one line."""
        ...

    def show(self, counts: Counter[str]) -> None:
        """Shows how many jobs are waiting, running, done and failed."""
        ...


@dataclass(frozen=True)
class Work:
    """A run to train, and the job that does it."""

    experiment: Experiment
    folder: Path
    job: Job

    def result(self) -> Result | None:
        """The result of the run, if it is finished."""
        return RunFolder(self.folder).finished(self.experiment)

    def reason(self, code: int | None) -> str:
        """The reason why the run failed: what its folder says, or its job's last line."""
        result = read_json_or_none(self.folder / "result.json") or {}
        if code == EXIT_FAILED and result.get("error"):
            return result["error"]
        log = Path(self.job.log)
        lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        return said[-1].removeprefix("error: ") if said else f"it said nothing in {log}"


@dataclass(frozen=True)
class Attempt:
    """One submission of a job."""

    work: Work
    number: int
    handle: Handle


class Supervisor:
    """The jobs of runs on an engine, until all have ended."""

    def __init__(
        self,
        engine: Engine,
        board: Board,
        stop: StopSignal,
        *,
        tries: int = TRIES,
        poll_s: float = POLL_S,
    ):
        self._engine, self._board, self._stop = engine, board, stop
        self._tries, self._poll_s = tries, poll_s
        self._counts: Counter[str] = Counter()

    def go(self, work: Sequence[Work]) -> list[str]:
        """Runs the jobs; returns one line for each run that failed.

        Raises:
            Stopped: a signal came; the jobs are cancelled, and can be resumed.
        """
        failures = []
        attempts = self._submit([(each, 1) for each in work])
        while attempts:
            if self._stop.requested:
                raise Stopped(self._cancel(attempts))
            again, left = [], []
            for attempt in attempts:
                if not attempt.handle.ended():
                    left.append(attempt)
                elif (failure := self._ended(attempt)) is None:
                    continue
                elif failure:
                    failures.append(f"{attempt.work.job.name} failed: {failure}")
                else:
                    again.append((attempt.work, attempt.number + 1))
            attempts = left + self._submit(again)
            self._show(attempts)
            time.sleep(self._poll_s if attempts else 0)
        return failures

    def _submit(self, work: Sequence[tuple[Work, int]]) -> list[Attempt]:
        """Submits jobs, each with the number of its attempt."""
        if not work:
            return []
        handles = self._engine.submit([each.job for each, _ in work])
        return [
            Attempt(each, number, handle)
            for (each, number), handle in zip(work, handles, strict=True)
        ]

    def _ended(self, attempt: Attempt) -> str | None:
        """Says why a run failed; nothing if its job is to be submitted again; None if done."""
        name, code = attempt.work.job.name, attempt.handle.code()
        result = attempt.work.result()
        if result is not None:
            self._counts["done"] += 1
            self._board.note(f"{name}: {score_of(result)}")
            return None
        how = "was killed" if code is None else f"ended with exit code {code}"
        if code in (EXIT_FAILED, EXIT_USAGE):
            failure = attempt.work.reason(code)
        elif attempt.number == self._tries:
            failure = (
                f"its job {how}, the last of {self._tries}; see {attempt.work.job.log}"
            )
        else:
            self._board.note(f"{name}: its job {how}, and is submitted again")
            return ""
        self._counts["failed"] += 1
        self._board.note(f"{name} failed: {failure}")
        return failure

    def _show(self, attempts: Sequence[Attempt]) -> None:
        running = sum(attempt.handle.begun() for attempt in attempts)
        here = Counter(waiting=len(attempts) - running, running=running)
        self._board.show(here + self._counts)

    def _cancel(self, attempts: Sequence[Attempt]) -> str:
        """Cancels all jobs and waits while they save; says so."""
        for attempt in attempts:
            attempt.handle.cancel()
        deadline = time.monotonic() + SAVE_S
        while time.monotonic() < deadline:
            if all(attempt.handle.ended() for attempt in attempts):
                break
            time.sleep(self._poll_s)
        many = "1 job is" if len(attempts) == 1 else f"{len(attempts)} jobs are"
        return f"{self._stop.requested}, {many} cancelled"


def score_of(result: Result) -> str:
    """The score of a result, and its wall time."""
    scores = (result.test or {}).get(result.metric)
    seconds = f"{result.wall_seconds or 0:.0f} s"
    if not scores:
        return seconds
    score = metric_text(result.metric, estimate(scores))
    return f"{score} {metric_label(result.metric)}, {seconds}"
