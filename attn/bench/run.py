"""Runs a suite: every case with everyone who can, then our own limits."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from attn.attention import attend
from attn.bench.cases import Case, Race
from attn.bench.check import (
    TOLERANCE,
    Inputs,
    checked_heads,
    definition,
    largest_error,
)
from attn.bench.entrants import entrants
from attn.bench.growth import growth
from attn.bench.machine import describe
from attn.bench.measure import Samples, Spread, Warm, measure, paired
from attn.bench.progress import Progress
from attn.bench.record import CaseRecord, CompileRecord, DensityRecord, Record, Row
from attn.bench.rivals import OURS, Built, Refused, Rival, all_rivals, program
from attn.bench.suites import Ladder, Suite
from attn.bench.verdicts import judge
from attn.errors import UserError
from attn.kernels import Softmax

PATIENCE = 40.0
"""Seconds that one call of a rival may take; a slower one is timed once."""
COMPILATIONS = 3


def run_suite(name: str, suite: Suite, rounds: int, watch: Progress) -> Record:
    """Everything that `suite` asks for, and its verdicts."""
    raced = [race.case for race in suite.races]
    raced += suite.ladder.cases if suite.ladder else ()
    machine = describe(sorted({case.dtype for case in raced}))
    rates = machine["matmul_gflops"]
    for dtype, rate in rates.items():
        watch.note(f"matmul, {dtype}: {rate:.0f} GFLOP/s")
    rivals = all_rivals()
    # Compiling first: nothing of these shapes is compiled or cached yet.
    compiling = tuple(compile_anew(tokens, watch) for tokens in suite.lengths)
    cases = tuple(
        run_race(race, rivals, rounds, rates[race.case.dtype], watch)
        for race in suite.races
    )
    mark, grown = None, ()
    if suite.ladder:
        cases += run_ladder(suite.ladder, rounds, rates, watch)
        mark, grown = suite.ladder.mark, growth(cases, suite.ladder)
    density = run_density(suite.density, rounds, watch)
    targets = tuple(judge(t, cases, density, compiling, grown) for t in suite.targets)
    return Record(
        name, rounds, machine, cases, density, compiling, targets, mark, grown
    )


def run_ladder(
    ladder: Ladder, rounds: int, rates: Mapping[str, float], watch: Progress
) -> tuple[CaseRecord, ...]:
    """Every mechanism at every length, in turn; who took too long climbs no further."""
    everyone = {one.name: one for one in entrants(ladder)}
    gone: dict[str, str] = {}
    found = []
    for case in ladder.cases:
        race = Race(case, tuple(name for name in everyone if name not in gone))
        rate, limits = rates[case.dtype], (ladder.patience, ladder.budget)
        record = run_race(race, everyone, rounds, rate, watch, *limits)
        absent = [Row(name, "refused", why) for name, why in gone.items()]
        found.append(replace(record, rows=(*record.rows, *absent)))
        for row in record.rows:
            where = f"at {case.T:,} tokens, {case.direction}"
            if row.status == "slow":
                gone[row.rival] = (
                    f"one call took {row.samples_ms[0] / 1e3:.0f} s {where}"
                )
            elif (row.compile_seconds or 0.0) > PATIENCE:
                took = f"{row.compile_seconds:.0f} s"
                gone[row.rival] = f"compiling took {took} {where}"
    return tuple(found)


def run_race(
    race: Race,
    rivals: Mapping[str, Rival],
    rounds: int,
    rate: float,
    watch: Progress,
    patience: float = PATIENCE,
    budget: float = math.inf,
) -> CaseRecord:
    """One case with its rivals, in turn; `rate` is the machine's, in GFLOP/s.

    Args:
        patience: seconds of a call beyond which it is timed once.
        budget: seconds of samples of one rival.
    """
    case = race.case
    watch.begin(case.name)
    inputs = Inputs.make(case)
    expected = definition(case, inputs)
    rows: dict[str, Row] = {}
    ready: dict[str, Warm] = {}
    for name in race.rivals or rivals:
        watch.stage(f"preparing {name}")
        rows[name], warm = prepare(rivals[name], case, inputs, expected, patience)
        if warm is not None:
            ready[name] = warm
    watch.stage("measuring")
    samples = measure(ready, rounds, watch.tick, budget)
    ours = samples.get(OURS)
    for name, sample in samples.items():
        flops = case.useful_flops if rivals[name].promises else None
        rows[name] = timed(rows[name], sample, ours, flops, rate)
    watch.done(_line(rows))
    return CaseRecord(
        name=case.name,
        mask=case.mask_name,
        dtype=case.dtype,
        shape=case.shape,
        backward=case.backward,
        tokens=case.T,
        density=case.density,
        useful_flops=case.useful_flops,
        heads_checked=len(checked_heads(case)),
        rows=tuple(rows.values()),
    )


def prepare(
    rival: Rival,
    case: Case,
    inputs: Inputs,
    expected: Sequence,
    patience: float = PATIENCE,
) -> tuple[Row, Warm | None]:
    """Builds and checks a rival; the second is None unless it is to be measured."""
    try:
        reason = rival.why_unsupported(case)
        if reason is not None:
            return Row(rival.name, "refused", reason), None
        built = rival.build(case, inputs)
        error = _error(rival, case, built, expected)
        warm = Warm.up(built.call)
    except (Refused, UserError) as refused:
        return Row(rival.name, "refused", str(refused)), None
    except Exception as failure:  # of another library: it is its row that fails
        said = " ".join(str(failure).split())
        return Row(rival.name, "failed", f"{type(failure).__name__}: {said:.200}"), None
    row = Row(
        rival.name,
        "ok",
        built.note,
        error=error,
        temp_bytes=built.temp_bytes,
        compile_seconds=built.compile_seconds,
    )
    if error == math.inf:
        # JSON has no infinity: no error where nothing finite came out.
        why = "missing, or of another shape, or not finite; not timed"
        return replace(row, status="wrong", reason=why, error=None), None
    if error is not None and error > TOLERANCE[case.dtype]:
        why = f"off by {error:.1e} of the largest value; not timed"
        return replace(row, status="wrong", reason=why), None
    if warm.once > patience:
        why = f"one call took {warm.once:.0f} s; {patience:.0f} s is what we wait"
        return replace(
            row, status="slow", reason=why, samples_ms=(1e3 * warm.once,)
        ), None
    return row, warm


def _error(rival: Rival, case: Case, built: Built, expected: Sequence) -> float | None:
    """Of a rival that promises the definition; of others None, or inf where not finite."""
    if rival.promises:
        return largest_error(case, built.outputs, expected)
    return None if all(np.isfinite(x).all() for x in built.outputs) else math.inf


def timed(
    row: Row, sample: Samples, ours: Samples | None, flops: float | None, rate: float
) -> Row:
    """The row with its times, and what follows from them; no rate without `flops`."""
    ms = Spread.of(sample.seconds).times(1e3)
    gflops = None if flops is None else 1e-6 * flops / ms.median
    ratio = None
    if ours is not None:
        both = min(len(sample.seconds), len(ours.seconds))
        ratio = paired(sample.seconds[:both], ours.seconds[:both])
    return replace(
        row,
        samples_ms=tuple(1e3 * s for s in sample.seconds),
        ms=ms,
        ratio=ratio,
        spun_ms=1e3 * sample.spun,
        gflops=gflops,
        share=None if gflops is None else gflops / rate,
    )


def _line(rows: Mapping[str, Row]) -> str:
    """`attn 61.2 ms, jax.nn 702 ms (11.5x)`."""
    parts = []
    for row in rows.values():
        ratio = f" ({row.ratio.median:.2f}x)" if row.ratio and row.rival != OURS else ""
        said = f"{row.ms.median:.3g} ms{ratio}" if row.ms else row.status
        parts.append(f"{row.rival} {said}")
    return ", ".join(parts)


def run_density(
    cases: Sequence[Case], rounds: int, watch: Progress
) -> tuple[DensityRecord, ...]:
    """Our blockwise kernel under each mask, in turn, against itself under none."""
    found = []
    for backward in (False, True):
        group = [case for case in cases if case.backward == backward]
        if group:
            found += _density_group(group, rounds, watch)
    return tuple(found)


def _density_group(cases, rounds: int, watch: Progress) -> list[DensityRecord]:
    watch.begin(f"masks, {cases[0].shape}, {cases[0].direction}")
    rival = all_rivals()["attn blockwise"]
    ready = {}
    for case in cases:
        built = rival.build(case, Inputs.make(case))
        ready[case.name] = Warm.up(built.call)
    samples = measure(ready, rounds, watch.tick)
    (dense,) = (samples[case.name] for case in cases if case.density == 1)
    records = []
    for case in cases:
        mine = samples[case.name].seconds
        records.append(
            DensityRecord(
                case.name,
                case.density,
                tuple(1e3 * s for s in mine),
                Spread.of(mine).times(1e3),
                paired(mine, dense.seconds).times(1 / case.density),
            )
        )
    said = (
        f"{r.density:.1%} in {r.ms.median:.3g} ms ({r.excess.median:.2f}x)"
        for r in records
    )
    watch.done(", ".join(said))
    return records


def compile_anew(tokens: int, watch: Progress) -> CompileRecord:
    """Compiles the causal call and its gradients at a length, some times; runs nothing."""
    case = Case(tokens, backward=True)
    watch.begin(f"compiling {case.name}")
    struct = jax.ShapeDtypeStruct((case.B, case.T, case.N, case.H), jnp.float32)
    samples, temp = [], None
    for _ in range(COMPILATIONS):

        def call(q, k, v):
            return attend(Softmax(), q, k, v, mask=case.mask, impl="blockwise")

        jax.clear_caches()
        start = time.perf_counter()
        lowered = jax.jit(program(call, case)).lower([struct] * 4, [])
        memory = lowered.compile().memory_analysis()
        samples.append(time.perf_counter() - start)
        temp = memory.temp_size_in_bytes if memory else None
        watch.tick()
    said = "" if temp is None else f", {temp / 1e6:.1f} MB of scratch"
    watch.done(f"{max(samples):.2f} s{said}")
    return CompileRecord(case.name, tokens, tuple(samples), temp)
