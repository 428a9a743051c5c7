"""Timing: runners interleaved in rounds, compared by the ratio within each round."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LEAST_CALL = 5e-3
"""The duration in seconds below which several calls make a sample."""
LEAST_SAMPLE = 20e-3
"""The duration in seconds of such a sample."""

LEAST_ROUNDS = 3
"""The least number of rounds, also for slow runners; a spread needs as many."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Queued:
    """A call in two halves, for a device that runs while the host goes on.

    Waiting after each call would add the time of its launch; a sample waits once.
    """

    begin: Call
    wait: Callable[[Any], object]
    """Returns when what `begin` gave, and all that was begun before it, is there."""

    def __call__(self) -> Any:
        found = self.begin()
        self.wait(found)
        return found


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of some samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        return cls(median(samples), min(samples), max(samples))

    def times(self, factor: float) -> "Spread":
        return Spread(self.median * factor, self.low * factor, self.high * factor)


def paired(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """The spread of the ratios of times within each round."""
    return Spread.of([their / our for their, our in zip(theirs, ours, strict=True)])


def seconds(call: Call, calls: int = 1) -> float:
    """Wall time a call, over `calls` calls; one that is queued is awaited at the end."""
    begin, last = call.begin if isinstance(call, Queued) else call, None
    start = time.perf_counter()
    for _ in range(calls):
        last = begin()
    if isinstance(call, Queued):
        call.wait(last)
    return (time.perf_counter() - start) / calls


def calls_a_sample(once: float, queued: bool = False) -> int:
    """The number of calls in a sample, where one call takes `once` seconds.

    A launch is paid once a sample, so that queued calls fill one whatever they take.
    """
    if once >= (LEAST_SAMPLE if queued else LEAST_CALL):
        return 1
    return math.ceil(LEAST_SAMPLE / max(once, 1e-6))


def rounds_within(budget: float, once: float, rounds: int) -> int:
    """The number of rounds, at most `rounds`, that fit in `budget` seconds."""
    if once * rounds <= budget:
        return rounds
    return min(rounds, max(LEAST_ROUNDS, int(budget // once)))


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The order of a round, rotated so that no runner always follows the same one."""
    turn %= len(names)
    return [*names[turn:], *names[:turn]]


def settle(limit: float = 0.5, nap: float = 4e-3) -> None:
    """Waits until this process's threads are idle, or for `limit` seconds.

    OpenMP's threads spin for some milliseconds after a call of torch, and would take a
    core from the next runner.
    """
    start = time.perf_counter()
    while time.perf_counter() - start < limit:
        busy, begin = time.process_time(), time.perf_counter()
        time.sleep(nap)
        slept = time.perf_counter() - begin
        if time.process_time() - busy < 0.1 * slept:
            return


@dataclass(frozen=True)
class Warm:
    """A call that has run once, and the seconds that it took."""

    call: Call
    once: float

    @classmethod
    def up(cls, call: Call) -> "Warm":
        """Runs `call` once, after the threads have settled.

        A short one that is queued runs again as a sample, without the launch in its time.
        """
        settle()
        once = seconds(call)
        if isinstance(call, Queued) and once < LEAST_SAMPLE:
            once = seconds(call, calls_a_sample(once, queued=True))
        return cls(call, once)


def measure(
    runners: Mapping[str, Warm],
    rounds: int,
    each: Callable[[], None] = lambda: None,
    budget: float = math.inf,
) -> dict[str, list[float]]:
    """Runs every runner once a round, in rotated order; returns seconds a call.

    A call too short for the clock is repeated within its sample, and called once
    before it, since the others have emptied the caches.

    Args:
        each: called after every sample, as by a progress bar.
        budget: seconds of samples of one runner, after which it sits out.
    """
    names = list(runners)
    found: dict[str, list[float]] = {name: [] for name in names}
    settle()
    for turn in range(rounds if names else 0):
        for name in rotated(names, turn):
            call, once = runners[name].call, runners[name].once
            if turn >= rounds_within(budget, once, rounds):
                continue
            calls = calls_a_sample(once, isinstance(call, Queued))
            if calls > 1:
                call()
            found[name].append(seconds(call, calls))
            settle()
            each()
    return found
