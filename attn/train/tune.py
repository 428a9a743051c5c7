"""Tuning of the peak learning rate: a grid of rates as replicas of one program."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import NamedSharding

from attn.config import Experiment
from attn.config.tuning import Tuning
from attn.data.pipeline import Batches, cut_steps
from attn.errors import Failed
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.processes import place
from attn.parallel.rules import spec
from attn.tasks.base import Dataset
from attn.train.calls import CALL_STEPS
from attn.train.evaluate import Evaluator
from attn.train.state import State, init_state, model_def
from attn.train.step import make_train_step
from attn.train.watcher import Watcher

FIRST_SEED = 1000
"""The first seed of tuning; runs count from 0, so theirs are fresh."""


class NoRate(Failed):
    """Every rate of a grid diverged."""


def search(
    grid: Callable[[Sequence[float]], Tuning],
    rates: Sequence[float],
    *,
    higher: bool,
    extensions: int = 0,
) -> Tuning:
    """Tries rates, and others beyond while the best lies at an end; chooses the best.

    The best has the best mean on the valid split, and is the lower of equal ones.

    Args:
        grid: trains at some rates, as `train_grid` does.
        higher: whether more of the metric is better.
        extensions: how often two more rates are tried beyond an end.

    Raises:
        NoRate: all of them diverged.
    """
    found = grid(rates)
    for _ in range(extensions):
        further = beyond(found, higher=higher)
        if not further:
            break
        found = _merged(found, grid(further))
    return choose(found, higher=higher)


def beyond(found: Tuning, *, higher: bool) -> tuple[float, ...]:
    """Two more rates beyond the end at which the best lies; none where it is within."""
    low, high = found.rates[0], found.rates[-1]
    try:
        best = choose(found, higher=higher).chosen
    except NoRate:
        best = low
    if best == low:
        return low / 4, low / 2
    return (2 * high, 4 * high) if best == high else ()


def train_grid(
    experiment: Experiment,
    rates: Sequence[float],
    data: Dataset,
    *,
    seeds: int,
    watcher: Watcher,
    mesh_shape: MeshShape = MeshShape(),
) -> Tuning:
    """Trains the experiment once for each rate and seed, all under one `vmap`.

    All rates have the same seeds, so the same weights at first and the same batches.
    None of them is chosen yet.
    """
    mesh = make_mesh(mesh_shape)
    replicas = tuple(FIRST_SEED + seed for _ in rates for seed in range(seeds))
    each = [rate for rate in rates for _ in range(seeds)]
    with jax.set_mesh(mesh):
        state, finite = _train(experiment, replicas, each, data, watcher)
        evaluate = Evaluator(experiment, model_def(experiment), data, mesh)
        scores = evaluate(state, "valid")[experiment.task.metric.name]
    valid = np.where(finite, scores, math.nan).reshape(len(rates), seeds)
    rows = tuple(tuple(row) for row in valid.tolist())
    return Tuning(tuple(rates), rows, experiment.train.peak_lr, math.nan)


def _train(
    experiment: Experiment,
    replicas: tuple[int, ...],
    rates: Sequence[float],
    data: Dataset,
    watcher: Watcher,
) -> tuple[State, np.ndarray]:
    """The states after all steps, and which never met a value that is not finite."""
    config, step = experiment.train, 0
    calls = cut_steps(0, config.steps, longest=CALL_STEPS)
    batches = Batches(
        data.splits["train"], batch_size=config.batch_size, seeds=replicas, calls=calls
    )
    sharding = NamedSharding(jax.sharding.get_mesh(), spec("C R B"))
    train_step = make_train_step(experiment, model_def(experiment), rates)
    state, finite = init_state(experiment, replicas), np.ones(len(replicas), bool)
    with batches:
        for length in calls:
            begin = time.perf_counter()
            batch = place(next(batches), sharding)
            state, metrics = train_step(state, batch)
            values = {name: np.asarray(x) for name, x in metrics.items()}
            finite &= values["finite"].all(axis=0)
            step += length
            pace = 1000 * (time.perf_counter() - begin) / length / len(replicas)
            loss = [float(x) for x in values["loss"].mean(axis=0)]
            watcher.advance(step, config.steps, {"train_loss": loss, "step_ms": pace})
    return state, finite


def _merged(one: Tuning, other: Tuning) -> Tuning:
    """One grid of both, by rate."""
    rows = sorted(zip(one.rates + other.rates, one.valid + other.valid))
    rates, valid = zip(*rows)
    return replace(one, rates=rates, valid=valid)


def choose(found: Tuning, *, higher: bool) -> Tuning:
    """The grid with its best rate.

    Raises:
        NoRate: all of them diverged.
    """
    known = [rate for rate in found.rates if math.isfinite(found.score(rate))]
    if not known:
        raise NoRate(
            f"all rates diverged: {', '.join(f'{rate:g}' for rate in found.rates)}; "
            "choose lower ones"
        )
    sign = -1 if higher else 1
    chosen = min(known, key=lambda rate: (sign * found.score(rate), rate))
    return replace(found, chosen=chosen)
