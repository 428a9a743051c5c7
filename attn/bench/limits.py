"""Limits of our kernel: time by mask density, compile time and scratch memory."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from attn.attention import attend
from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.libraries import all_rivals
from attn.bench.measure import Spread, Warm, measure, paired
from attn.bench.race import Watcher, ticker, work
from attn.bench.record import CompileRecord, DensityRecord
from attn.bench.rival import program
from attn.kernels import Softmax

COMPILATIONS = 3


def run_density(
    cases: Sequence[Case], rounds: int, watch: Watcher
) -> tuple[DensityRecord, ...]:
    """Times our blockwise kernel under each mask against the same without a mask."""
    found = []
    for backward in (False, True):
        group = [case for case in cases if case.backward == backward]
        if group:
            found += _density_group(group, rounds, watch)
    return tuple(found)


def _density_group(
    cases: Sequence[Case], rounds: int, watch: Watcher
) -> list[DensityRecord]:
    seconds = sum(work(case, rounds) * case.density for case in cases)
    name = f"masks, {cases[0].shape}, {cases[0].direction}"
    watch.begin(name, len(cases) * rounds, seconds)
    rival = all_rivals()["attn blockwise"]
    ready = {}
    for case in cases:
        built = rival.build(case, Inputs.make(case))
        ready[case.name] = Warm.up(built.call)
    samples = measure(ready, rounds, ticker(watch, len(ready) * rounds))
    (dense,) = (samples[case.name] for case in cases if case.density == 1)
    records = []
    for case in cases:
        mine = samples[case.name]
        records.append(
            DensityRecord(
                case.name,
                case.density,
                tuple(1e3 * s for s in mine),
                Spread.of(mine).times(1e3),
                paired(mine, dense).times(1 / case.density),
            )
        )
    said = (
        f"{r.density:.1%} in {r.ms.median:.3g} ms ({r.excess.median:.2f}x)"
        for r in records
    )
    watch.note(", ".join(said))
    return records


def compile_anew(tokens: int, watch: Watcher) -> CompileRecord:
    """Compiles the causal call and its gradients at one length, several times."""
    case = Case(tokens, backward=True)
    watch.begin(f"compiling {case.name}", COMPILATIONS)
    tick = ticker(watch, COMPILATIONS)
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
