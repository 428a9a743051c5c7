"""Runs of suites: every case with all rivals that can, then our own limits."""

from collections.abc import Mapping
from dataclasses import replace

from attn.bench.cases import Race
from attn.bench.decoding import decoding_work, run_decoding
from attn.bench.libraries import all_rivals
from attn.bench.limits import COMPILATIONS, compile_anew, run_density
from attn.bench.machine import describe
from attn.bench.model_race import model_work, run_model
from attn.bench.ours import runners
from attn.bench.race import PATIENCE, Watcher, racing, run_race, work
from attn.bench.record import CaseRecord, Record, Row
from attn.bench.scaling import growth
from attn.bench.suite import Scaling, Suite
from attn.bench.verdicts import judge


def total_work(suite: Suite, rounds: int) -> float:
    """The estimated seconds that all parts of a suite take."""
    rivals = all_rivals()
    races = [(race.case, len(racing(race, rivals))) for race in suite.races]
    if suite.scaling:
        everyone = len(runners(suite.scaling))
        races += [(case, everyone) for case in suite.scaling.cases]
    raced = sum(work(case, rounds, number) for case, number in races)
    masked = sum(work(case, rounds) * case.density for case in suite.density)
    modelled = model_work(rounds) * len(suite.models)
    modelled += decoding_work(suite.decoding, rounds) if suite.decoding else 0.0
    return raced + masked + modelled + float(COMPILATIONS * len(suite.lengths))


def run_suite(name: str, suite: Suite, rounds: int, watch: Watcher) -> Record:
    """Runs everything in `suite`, and judges its targets."""
    raced = [race.case for race in suite.races]
    raced += suite.scaling.cases if suite.scaling else ()
    # Whole models are raced in float32.
    dtypes = {case.dtype for case in raced} | {"float32" for _ in suite.models}
    machine = describe(sorted(dtypes))
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
    models = tuple(run_model(case, rounds, watch) for case in suite.models)
    decoding = run_decoding(suite.decoding, rounds, watch) if suite.decoding else ()
    density = run_density(suite.density, rounds, watch)
    timed = (*cases, *models)
    found = timed, density, compiling, grown, decoding
    targets = tuple(judge(target, *found) for target in suite.targets)
    return Record(
        *(name, rounds, machine, cases, density, compiling, targets, mark, grown),
        *(models, decoding),
    )


def run_scaling(
    scaling: Scaling, rounds: int, rates: Mapping[str, float], watch: Watcher
) -> tuple[CaseRecord, ...]:
    """Runs all mechanisms at all lengths, interleaved; slow ones skip long lengths."""
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
