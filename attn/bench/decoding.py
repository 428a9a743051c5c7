"""Decoding steps of every mechanism, in a loop that carries its cache."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from attn.attention.decode import Cache, KeyCache, begin, fill, step
from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.measure import measure, paired
from attn.bench.ours import Mechanism
from attn.bench.race import PREPARATION, Watcher, prepared, ticker, timed
from attn.bench.record import DecodingRecord, Row, StepRecord
from attn.bench.rival import Built
from attn.bench.suite import Decoding
from attn.config import Attention

CALL = 0.1
"""Seconds of a call, as assumed for the time that is left."""
FLOAT32 = 4
"""Bytes of a number in every cache."""


def decoding_work(decoding: Decoding, rounds: int) -> float:
    """The estimated seconds that the steps of all mechanisms take."""
    number = len(decoding.names) * len(decoding.lengths)
    return number * (PREPARATION + (rounds + 2) * CALL)


def run_decoding(
    decoding: Decoding, rounds: int, watch: Watcher
) -> tuple[DecodingRecord, ...]:
    """Times the steps of all mechanisms at all lengths, interleaved in rounds."""
    knobs, number = decoding.knobs, len(decoding.names) * len(decoding.lengths)
    work = decoding_work(decoding, rounds)
    watch.begin("decoding steps", number * rounds, work)
    everyone = [Mechanism(name, knobs.get(name, {})) for name in decoding.names]
    made = {
        named(one, case): prepared(
            one.name,
            one.why_unsupported(case),
            partial(build, one, case, decoding.steps),
            _error,
            tolerance=0.0,
        )
        for one in everyone
        for case in decoding.cases
    }
    ready = {name: warm for name, (_, warm) in made.items() if warm is not None}
    calls = measure(ready, rounds, ticker(watch, len(ready) * rounds))
    rows = {name: row for name, (row, _) in made.items()}
    found = tuple(summary(one, decoding, rows, calls) for one in everyone)
    for record in found:
        watch.note(said(record))
    return found


def named(one: Mechanism, case: Case) -> str:
    """Names a mechanism at a length, as in `window at 1,024 tokens`."""
    return f"{one.name} at {case.T:,} tokens"


def said(record: DecodingRecord) -> str:
    """The result in one line, as in `window 0.07, 0.08 ms a step`."""
    rows = [one.row for one in record.steps]
    times = [f"{row.ms.median:.3g}" if row.ms else row.status for row in rows]
    return f"{record.mechanism} {', '.join(times)} ms a step"


def _error(built: Built) -> float | None:
    """Infinite where an output is not finite; else None, as nothing is compared."""
    return None if all(np.isfinite(x).all() for x in built.outputs) else math.inf


def build(one: Mechanism, case: Case, steps: int) -> Built:
    """Fills a cache but for the last `steps` tokens of a case, and compiles their steps.

    Every call decodes the same positions, and hands its cache to the next one. What lies
    ahead of a query is not seen, and no step's cost depends on what its cache holds.
    """
    weights = next(iter(one.extras(case)), None)
    arrays = [jnp.asarray(x) for x in Inputs.make(case).arrays[:3]]
    prompt, last = [x[:, :-steps] for x in arrays], [x[:, -steps:] for x in arrays]
    cache = jax.jit(partial(filled, one, case))(prompt, weights)
    start = time.perf_counter()
    run = jax.jit(partial(decoded, one, case), donate_argnums=0)
    compiled = run.lower(cache, last, weights).compile()
    took = time.perf_counter() - start
    memory = compiled.memory_analysis()
    held = [cache]

    def call() -> list[Array]:
        cache, out = compiled(held.pop(), last, weights)
        held.append(cache)
        return [jax.block_until_ready(out)]

    outputs = [np.asarray(x) for x in call()]
    temp = memory.temp_size_in_bytes if memory else None
    return Built(call, outputs, took, temp, one.note(case))


def empty(one: Mechanism, case: Case) -> Cache:
    """Makes the cache of a mechanism, for as many tokens as the case has."""
    heads, widths = (case.N, case.K), (case.H, case.H)
    spec, mask = one.spec(case.T), one.mask(case)
    return begin(spec, mask, case.B, case.T, heads=heads, widths=widths)


def filled(
    one: Mechanism,
    case: Case,
    prompt: Sequence[Float[Array, "B P heads H"]],
    weights: Any,
) -> Cache:
    """Fills a cache for a case with a prompt's queries, keys and values."""
    q, k, v = prompt
    fixed = {"mask": one.mask(case), "weights": weights}
    return fill(one.spec(case.T), q, k, v, empty(one, case), **fixed)


def decoded(
    one: Mechanism,
    case: Case,
    cache: Cache,
    last: Sequence[Float[Array, "B steps heads H"]],
    weights: Any,
) -> tuple[Cache, Float[Array, "steps B 1 N H"]]:
    """Decodes the last tokens of a case, the cache being the carry of the loop."""
    q, k, v = (jnp.moveaxis(x, 1, 0)[:, :, None] for x in last)
    at = jnp.arange(case.T - len(q), case.T)[:, None, None]
    at = jnp.broadcast_to(at, (len(q), case.B, 1))
    fixed = {"mask": one.mask(case), "weights": weights}

    def body(cache, now):
        q, k, v, at = now
        out, cache = step(one.spec(case.T), q, k, v, cache, positions=at, **fixed)
        return cache, out

    return lax.scan(body, cache, (q, k, v, at))


def cache_bytes(one: Mechanism, case: Case) -> int:
    """The bytes of a cache's keys and values, or states; without its slots' positions."""
    cache = jax.eval_shape(partial(empty, one, case))
    kept = (cache.k, cache.v) if isinstance(cache, KeyCache) else cache.state
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept))


def declared_bytes(one: Mechanism, case: Case) -> int:
    """The bytes of the decoding state that a layer of the mechanism declares."""
    layer = Attention(one.spec(case.T), case.N, case.K, case.H)
    return case.B * FLOAT32 * layer.state_size(case.N * case.H, case.T)


def summary(
    one: Mechanism,
    decoding: Decoding,
    rows: Mapping[str, Row],
    calls: Mapping[str, Sequence[float]],
) -> DecodingRecord:
    """Puts together the rows of a mechanism, the seconds of its calls, and its caches."""
    samples = {n: [s / decoding.steps for s in call] for n, call in calls.items()}
    found = []
    for case in decoding.cases:
        row, sample = rows[named(one, case)], samples.get(named(one, case))
        if sample is not None:
            row = timed(row, sample, None, None, math.nan)
        sizes = cache_bytes(one, case), declared_bytes(one, case)
        found.append(StepRecord(case.T, row, *sizes))
    short, *_, long = (samples.get(named(one, case)) for case in decoding.cases)
    growth = paired(long, short) if long and short else None
    reasons = dict.fromkeys(x.row.reason for x in found if x.row.reason)
    return DecodingRecord(
        one.mechanism, one.family, tuple(found), growth, "; ".join(reasons)
    )
