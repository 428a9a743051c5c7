"""A race: one case whose rivals are built, checked against the definition and timed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, runtime_checkable

import numpy as np

from attn.bench.cases import Case, Race
from attn.bench.check import (
    Inputs,
    definition,
    largest_error,
    tolerance,
)
from attn.bench.device import queues
from attn.bench.measure import Spread, Warm, measure, paired
from attn.bench.ours import OURS
from attn.bench.record import CaseRecord, Row
from attn.bench.rival import Built, Rival, Unsupported
from attn.errors import UserError

PATIENCE = 40.0
"""Seconds that one call of a rival may take; a slower one is timed once only."""
PREPARATION, PACE, PACE_ELSEWHERE = 3.0, 60e9, 60e12
"""Seconds to build a rival, and its FLOP/s, as assumed for the time that is left; the
last on an accelerator."""


@runtime_checkable
class Watcher(Protocol):
    """The progress display of a suite; called between samples, never within one."""

    def begin(self, name: str, steps: int, work: float | None = None) -> None:
        """Announces a part of `steps` samples; `work` is its share of the total."""

    def note(self, text: str) -> None:
        """Reports one line of information."""

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """Reports that `step` of `steps` are done."""


def work(case: Case, rounds: int, runners: int = 1) -> float:
    """The estimated seconds that a case takes."""
    flops = case.useful_flops / case.density
    pace = PACE_ELSEWHERE if queues() else PACE
    return runners * (PREPARATION + (rounds + 3) * flops / pace)


def ticker(watch: Watcher, samples: int) -> Callable[[], None]:
    """Returns a callback to invoke after each of `samples` samples."""
    taken = count(1)
    return lambda: watch.advance(next(taken), samples, {})


def run_race(
    race: Race,
    rivals: Mapping[str, Rival],
    rounds: int,
    rate: float,
    watch: Watcher,
    patience: float = PATIENCE,
    budget: float = math.inf,
) -> CaseRecord:
    """Runs one case with its rivals, interleaved; `rate` is the machine's, in GFLOP/s.

    Args:
        patience: seconds of a call beyond which it is timed once.
        budget: seconds of samples of one rival.
    """
    case, names = race.case, racing(race, rivals)
    watch.begin(case.name, len(names) * rounds, work(case, rounds, len(names)))
    inputs = Inputs.make(case)
    expected = definition(case, inputs)
    made = {n: prepare(rivals[n], case, inputs, expected, patience) for n in names}
    rows = {name: row for name, (row, _) in made.items()}
    ready = {name: warm for name, (_, warm) in made.items() if warm is not None}
    tick = ticker(watch, len(ready) * rounds)
    samples = measure(ready, rounds, tick, budget)
    ours = samples.get(OURS)
    for name, sample in samples.items():
        counted = rivals[name].promises and case.is_softmax
        flops = case.useful_flops if counted else None
        rows[name] = timed(rows[name], sample, ours, flops, rate)
    watch.note(said(rows))
    return CaseRecord(
        name=case.name,
        mask=case.mask_name,
        dtype=case.dtype,
        shape=case.shape,
        backward=case.backward,
        tokens=case.T,
        density=case.density,
        useful_flops=case.useful_flops,
        rows=tuple(rows.values()),
    )


def racing(race: Race, rivals: Mapping[str, Rival]) -> tuple[str, ...]:
    """The names of a race's rivals: as it says, or all that compute its mechanism."""
    mechanism = race.case.mechanism
    able = (name for name, one in rivals.items() if one.computes(mechanism))
    return race.rivals or tuple(able)


def prepare(
    rival: Rival,
    case: Case,
    inputs: Inputs,
    expected: Sequence,
    patience: float = PATIENCE,
) -> tuple[Row, Warm | None]:
    """Builds and checks a rival; the second value is None unless it is to be timed."""
    return prepared(
        rival.name,
        rival.why_unsupported(case),
        lambda: rival.build(case, inputs),
        lambda built: _error(rival, case, built, expected),
        tolerance(case),
        patience,
    )


def prepared(
    name: str,
    reason: str | None,
    build: Callable[[], Built],
    find_error: Callable[[Built], float | None],
    tolerance: float,
    patience: float = PATIENCE,
) -> tuple[Row, Warm | None]:
    """Builds and checks what runs a case, unless there is a reason that it cannot."""
    if reason is not None:
        return Row(name, "unsupported", reason), None
    try:
        built = build()
        error = find_error(built)
        warm = Warm.up(built.call)
    except (Unsupported, UserError) as unable:
        return Row(name, "unsupported", str(unable)), None
    except Exception as failure:  # raised by another library: only its row fails
        text = " ".join(str(failure).split())
        return Row(name, "failed", f"{type(failure).__name__}: {text:.200}"), None
    row = Row(
        name,
        "ok",
        built.note,
        error=error,
        temp_bytes=built.temp_bytes,
        compile_seconds=built.compile_seconds,
    )
    if error == math.inf:
        # JSON has no infinity: None where the output is not finite.
        why = "missing, or of another shape, or not finite; not timed"
        return replace(row, status="wrong", reason=why, error=None), None
    if error is not None and error > tolerance:
        why = f"off by {error:.1e} of the largest value; not timed"
        return replace(row, status="wrong", reason=why), None
    if warm.once > patience:
        why = f"one call took {warm.once:.0f} s; {patience:.0f} s is what we wait"
        return replace(
            row, status="slow", reason=why, samples_ms=(1e3 * warm.once,)
        ), None
    return row, warm


def _error(rival: Rival, case: Case, built: Built, expected: Sequence) -> float | None:
    """The error of a rival that promises exactness, inf if not finite; else None."""
    if rival.promises:
        return largest_error(case, built.outputs, expected)
    return None if all(np.isfinite(x).all() for x in built.outputs) else math.inf


def timed(
    row: Row,
    sample: Sequence[float],
    ours: Sequence[float] | None,
    flops: float | None,
    rate: float,
) -> Row:
    """Adds the times and what follows from them to a row; no rate without `flops`."""
    ms = Spread.of(sample).times(1e3)
    gflops = None if flops is None else 1e-6 * flops / ms.median
    ratio = None
    if ours is not None:
        both = min(len(sample), len(ours))
        ratio = paired(sample[:both], ours[:both])
    return replace(
        row,
        samples_ms=tuple(1e3 * s for s in sample),
        ms=ms,
        ratio=ratio,
        gflops=gflops,
        share=None if gflops is None else gflops / rate,
    )


def said(rows: Mapping[str, Row]) -> str:
    """The result in one line, as in `attn 61.2 ms, jax.nn 702 ms (11.5x)`."""
    parts = []
    for row in rows.values():
        ratio = f" ({row.ratio.median:.2f}x)" if row.ratio and row.rival != OURS else ""
        text = f"{row.ms.median:.3g} ms{ratio}" if row.ms else row.status
        parts.append(f"{row.rival} {text}")
    return ", ".join(parts)
