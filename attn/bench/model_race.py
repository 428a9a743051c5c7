"""A race of whole models: ours beside PyTorch's, with equal outputs, in turn."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from attn.bench import generation, training
from attn.bench.device import queues
from attn.bench.measure import measure
from attn.bench.models import ModelCase, TrainingSteps
from attn.bench.ours import OURS
from attn.bench.race import PREPARATION, Watcher, prepared, said, ticker, timed
from attn.bench.record import ModelRecord, Row
from attn.bench.rival import Built, Runner
from attn.errors import UserError

CALL = 3.0
"""Seconds of a call, as assumed for the time that is left."""
AT_MOST = 3
"""Runners of a race."""


def model_work(rounds: int) -> float:
    """The estimated seconds that a race takes."""
    return AT_MOST * (PREPARATION + (rounds + 2) * CALL)


@contextmanager
def runners(case: ModelCase) -> Iterator[tuple[Runner, ...]]:
    """The runners of a race, our own first; their weights may go when it is over."""
    if isinstance(case, TrainingSteps):
        yield training.runners(case)
        return
    with generation.opened(case.weights) as folder:
        yield generation.runners(case, folder)


def run_model(case: ModelCase, rounds: int, watch: Watcher) -> ModelRecord:
    """Runs one race, interleaved; rows say why where its weights are not here."""
    watch.begin(case.name, AT_MOST * rounds, model_work(rounds))
    try:
        with runners(case) as everyone:
            rows = raced(case, everyone, rounds, watch)
    except UserError as absent:
        names = (OURS, *generation.THEIRS)
        rows = {name: Row(name, "unsupported", str(absent)) for name in names}
    watch.note(said(rows))
    return ModelRecord(case.name, case.tokens, tuple(rows.values()))


def raced(
    case: ModelCase, everyone: Sequence[Runner], rounds: int, watch: Watcher
) -> dict[str, Row]:
    """Builds all runners, holds what they give against ours, and times them in turn."""
    expected: list[np.ndarray] = []

    def error(built: Built) -> float:
        if not expected:
            expected.extend(built.outputs)
        return difference(built.outputs, expected)

    made = {
        one.name: prepared(
            *(one.name, why_absent(one), one.build, error, case.tolerance)
        )
        for one in everyone
    }
    rows = {name: row for name, (row, _) in made.items()}
    ready = {name: warm for name, (_, warm) in made.items() if warm is not None}
    samples = measure(ready, rounds, ticker(watch, len(ready) * rounds))
    for name, sample in samples.items():
        rows[name] = timed(rows[name], sample, samples.get(OURS), None, math.nan)
    return rows


def why_absent(one: Runner) -> str | None:
    """The reason why a runner cannot run: packages that are not here, or the device."""
    if one.needs and queues():
        return "runs on the CPU; JAX runs elsewhere here"
    absent = [name for name in one.needs if find_spec(name) is None]
    return f"not installed: pip install {' '.join(absent)}" if absent else None


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest |found - expected| / max |expected|; infinite for another shape."""
    worst = 0.0
    for mine, right in zip(found, expected, strict=True):
        if mine.shape != right.shape or not np.isfinite(mine).all():
            return math.inf
        worst = max(worst, float(np.abs(mine - right).max() / np.abs(right).max()))
    return worst
