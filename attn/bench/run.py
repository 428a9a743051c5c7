"""Runs a suite: every case with everyone who can, then our own limits."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, runtime_checkable

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
from attn.bench.libraries import OURS, all_rivals
from attn.bench.machine import describe
from attn.bench.measure import Samples, Spread, Warm, measure, paired
from attn.bench.mechanisms import runners
from attn.bench.record import CaseRecord, CompileRecord, DensityRecord, Record, Row
from attn.bench.rival import Built, Rival, Unsupported, program
from attn.bench.scaling import growth
from attn.bench.suite import Scaling, Suite
from attn.bench.verdicts import judge
from attn.errors import UserError
from attn.kernels import Softmax

PATIENCE = 40.0
"""Seconds that one call of a rival may take; a slower one is timed once."""
COMPILATIONS = 3
COMPILATION, PREPARATION = 1.5, 3.0
"""Seconds assumed of one, for the time that is left."""
PACE = 60e9
"""FLOP/s assumed of a rival, likewise."""


@runtime_checkable
class Watcher(Protocol):
    """Whoever wants to see a suite as it goes; told between samples, never within one."""

    def begin(self, name: str, steps: int) -> None:
        """A part starts, of about so many seconds."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def advance(self, step: int, steps: int, values: Mapping[str, Any]) -> None:
        """`step` of `steps` are done."""


def total_steps(suite: Suite, rounds: int) -> int:
    """The steps of all parts of a suite: about the seconds that it takes."""
    races = [(race.case, len(race.rivals or all_rivals())) for race in suite.races]
    if suite.scaling:
        everyone = len(runners(suite.scaling))
        races += [(case, everyone) for case in suite.scaling.cases]
    compiling = len(suite.lengths) * _compile_steps()
    density = sum(_density_steps([case], rounds) for case in suite.density)
    return compiling + density + sum(_race_steps(*race, rounds) for race in races)


def _compile_steps() -> int:
    return round(COMPILATIONS * COMPILATION)


def _race_steps(case: Case, runners: int, rounds: int) -> int:
    calls = (runners - 1) * (rounds + 3) + 4  # ours counts little
    seconds = runners * PREPARATION + calls * case.useful_flops / case.density / PACE
    return round(seconds) + 1


def _density_steps(cases: Sequence[Case], rounds: int) -> int:
    seconds = [PREPARATION + (rounds + 3) * case.useful_flops / PACE for case in cases]
    return sum(map(round, seconds))


def _ticker(watch: Watcher, steps: int, samples: int) -> Callable[[], None]:
    """What to call after each sample, so that `samples` of them are `steps`."""
    taken = count(1)

    def tick():
        watch.advance(min(steps, round(steps * next(taken) / samples)), steps, {})

    return tick


def run_suite(name: str, suite: Suite, rounds: int, watch: Watcher) -> Record:
    """Everything that `suite` asks for, and its verdicts."""
    raced = [race.case for race in suite.races]
    raced += suite.scaling.cases if suite.scaling else ()
    machine = describe(sorted({case.dtype for case in raced}))
    rates = machine["matmul_gflops"]
    rivals = all_rivals()
    # Compiling first: nothing of these shapes is compiled or cached yet.
    compiling = tuple(compile_anew(tokens, watch) for tokens in suite.lengths)
    cases = tuple(
        run_race(race, rivals, rounds, rates[race.case.dtype], watch)
        for race in suite.races
    )
    mark, grown = None, ()
    if suite.scaling:
        cases += run_scaling(suite.scaling, rounds, rates, watch)
        mark, grown = suite.scaling.mark, growth(cases, suite.scaling)
    density = run_density(suite.density, rounds, watch)
    targets = tuple(judge(t, cases, density, compiling, grown) for t in suite.targets)
    return Record(
        name, rounds, machine, cases, density, compiling, targets, mark, grown
    )


def run_scaling(
    scaling: Scaling, rounds: int, rates: Mapping[str, float], watch: Watcher
) -> tuple[CaseRecord, ...]:
    """Every mechanism at every length, in turn; who took too long is not run at longer ones."""
    everyone = {one.name: one for one in runners(scaling)}
    gone: dict[str, str] = {}
    found = []
    for case in scaling.cases:
        race = Race(case, tuple(name for name in everyone if name not in gone))
        rate, limits = rates[case.dtype], (scaling.patience, scaling.budget)
        record = run_race(race, everyone, rounds, rate, watch, *limits)
        absent = [Row(name, "unsupported", why) for name, why in gone.items()]
        found.append(replace(record, rows=(*record.rows, *absent)))
        for row in record.rows:
            where = f"at {case.T:,} tokens, {case.direction}"
            compiling = row.compile_seconds or 0.0
            if row.status == "slow":
                took = row.samples_ms[0] / 1e3
                gone[row.rival] = f"one call took {took:.0f} s {where}"
            elif compiling > PATIENCE:
                gone[row.rival] = f"compiling took {compiling:.0f} s {where}"
    return tuple(found)


def run_race(
    race: Race,
    rivals: Mapping[str, Rival],
    rounds: int,
    rate: float,
    watch: Watcher,
    patience: float = PATIENCE,
    budget: float = math.inf,
) -> CaseRecord:
    """One case with its rivals, in turn; `rate` is the machine's, in GFLOP/s.

    Args:
        patience: seconds of a call beyond which it is timed once.
        budget: seconds of samples of one rival.
    """
    case, names = race.case, race.rivals or tuple(rivals)
    steps = _race_steps(case, len(names), rounds)
    watch.begin(case.name, steps)
    inputs = Inputs.make(case)
    expected = definition(case, inputs)
    made = {n: prepare(rivals[n], case, inputs, expected, patience) for n in names}
    rows = {name: row for name, (row, _) in made.items()}
    ready = {name: warm for name, (_, warm) in made.items() if warm is not None}
    tick = _ticker(watch, steps, len(ready) * rounds)
    samples = measure(ready, rounds, tick, budget)
    ours = samples.get(OURS)
    for name, sample in samples.items():
        flops = case.useful_flops if rivals[name].promises else None
        rows[name] = timed(rows[name], sample, ours, flops, rate)
    watch.note(_line(rows))
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
            return Row(rival.name, "unsupported", reason), None
        built = rival.build(case, inputs)
        error = _error(rival, case, built, expected)
        warm = Warm.up(built.call)
    except (Unsupported, UserError) as reason:
        return Row(rival.name, "unsupported", str(reason)), None
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
    """The error of a rival that promises the definition; else None, or inf if not finite."""
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
    cases: Sequence[Case], rounds: int, watch: Watcher
) -> tuple[DensityRecord, ...]:
    """Our blockwise kernel under each mask, in turn, against itself under none."""
    found = []
    for backward in (False, True):
        group = [case for case in cases if case.backward == backward]
        if group:
            found += _density_group(group, rounds, watch)
    return tuple(found)


def _density_group(
    cases: Sequence[Case], rounds: int, watch: Watcher
) -> list[DensityRecord]:
    steps = _density_steps(cases, rounds)
    watch.begin(f"masks, {cases[0].shape}, {cases[0].direction}", steps)
    rival = all_rivals()["attn blockwise"]
    ready = {}
    for case in cases:
        built = rival.build(case, Inputs.make(case))
        ready[case.name] = Warm.up(built.call)
    samples = measure(ready, rounds, _ticker(watch, steps, len(ready) * rounds))
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
    watch.note(", ".join(said))
    return records


def compile_anew(tokens: int, watch: Watcher) -> CompileRecord:
    """Compiles the causal call and its gradients at a length, some times; runs nothing."""
    case = Case(tokens, backward=True)
    steps = _compile_steps()
    watch.begin(f"compiling {case.name}", steps)
    tick = _ticker(watch, steps, COMPILATIONS)
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
        tick()
    said = "" if temp is None else f", {temp / 1e6:.1f} MB of scratch"
    watch.note(f"{max(samples):.2f} s{said}")
    return CompileRecord(case.name, tokens, tuple(samples), temp)
