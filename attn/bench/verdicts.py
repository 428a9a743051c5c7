"""From numbers to verdicts: does the record meet what we hold ourselves to?"""

from collections.abc import Callable, Sequence

from attn.bench.measure import Spread
from attn.bench.record import (
    CaseRecord,
    CompileRecord,
    DensityRecord,
    Fit,
    GrowthRecord,
    Judgement,
    Verdict,
)
from attn.bench.suites import Target

Found = tuple[Spread | None, str]
"""A number, and where it is from; or None, and why there is none."""

MB = 1e6


def judge(
    target: Target,
    cases: Sequence[CaseRecord],
    density: Sequence[DensityRecord],
    compiling: Sequence[CompileRecord],
    growth: Sequence[GrowthRecord] = (),
) -> Judgement:
    """The verdict on one target: the worst case counts, by its median."""
    found, where = {
        "speed": lambda: _speed(target, cases),
        "density": lambda: _density(density),
        "scratch": lambda: _scratch(compiling),
        "growth": lambda: _growth(compiling),
        "compile": lambda: _compile(compiling),
        "time exponent": lambda: _grown(target, growth, _time_exponent),
        "scratch exponent": lambda: _grown(target, growth, _scratch_exponent),
        "time ratio": lambda: _grown(target, growth, _time_ratio),
        "compile each": lambda: _grown(target, growth, _compile_each),
    }[target.kind]()
    return Judgement(
        title=target.title,
        against=target.against,
        bound=target.bound,
        aim=target.aim,
        higher_is_better=target.higher_is_better,
        found=found,
        where=where,
        verdict=_verdict(found and found.median, target),
    )


def _verdict(value: float | None, target: Target) -> Verdict:
    if value is None:
        return "not measured"
    sign = 1 if target.higher_is_better else -1
    if sign * value >= sign * target.aim:
        return "aim met"
    return "met" if sign * value >= sign * target.bound else "missed"


def _speed(target: Target, cases: Sequence[CaseRecord]) -> Found:
    by_name = {case.name: case for case in cases}
    found: list[tuple[Spread, str]] = []
    for case in target.cases:
        record = by_name.get(case.name)
        row = record.row(target.against) if record else None
        if row is None or row.ratio is None:
            why = f"{target.against}: {row.reason}" if row else "not run"
            return None, f"{case.name}: {why}"
        found.append((row.ratio, case.name))
    return min(found, key=lambda pair: pair[0].median)


def _density(density: Sequence[DensityRecord]) -> Found:
    masked = [(record.excess, record.name) for record in density if record.density < 1]
    if not masked:
        return None, "not run"
    return max(masked, key=lambda pair: pair[0].median)


def _scratch(compiling: Sequence[CompileRecord]) -> Found:
    """At the greatest length, in MB."""
    known = _known(compiling)
    if not known:
        return None, "not run, or the backend does not tell"
    tokens, scratch = known[-1]
    return _exactly(scratch / MB), f"{tokens:,} tokens"


def _growth(compiling: Sequence[CompileRecord]) -> Found:
    """To the greatest length from a quarter of it."""
    scratch = dict(_known(compiling))
    longest = max(scratch, default=0)
    if longest // 4 not in scratch:
        return None, "needs a length and its quarter, and a backend that tells"
    growth = _exactly(scratch[longest] / scratch[longest // 4])
    return growth, f"{longest // 4:,} to {longest:,} tokens"


def _known(compiling: Sequence[CompileRecord]) -> list[tuple[int, int]]:
    """Tokens and scratch bytes, by tokens."""
    return sorted((r.tokens, r.temp_bytes) for r in compiling if r.temp_bytes)


def _compile(compiling: Sequence[CompileRecord]) -> Found:
    """The slowest compilation counts: a user pays for the first one."""
    if not compiling:
        return None, "not run"
    worst = max(compiling, key=lambda record: max(record.samples_seconds))
    samples = worst.samples_seconds
    return Spread(max(samples), min(samples), max(samples)), worst.name


def _grown(
    target: Target,
    growth: Sequence[GrowthRecord],
    number: Callable[[GrowthRecord], Spread | None],
) -> Found:
    """The worst of those whom the target names; one without a number leaves it open."""
    found: list[tuple[Spread, str]] = []
    for record in growth:
        if target.who and not {record.mechanism, record.family} & {*target.who}:
            continue
        if target.kind == "time ratio" and not record.backward:
            continue
        direction = "forward + backward" if record.backward else "forward"
        value, where = number(record), f"{record.mechanism}, {direction}"
        if value is None:
            return None, f"{where}: no number: {record.note or 'not run'}"
        found.append((value, where))
    if not found:
        return None, "not run"
    return max(found, key=lambda pair: pair[0].median)


def _time_exponent(record: GrowthRecord) -> Spread | None:
    return _fitted(record.time)


def _scratch_exponent(record: GrowthRecord) -> Spread | None:
    return _fitted(record.scratch)


def _time_ratio(record: GrowthRecord) -> Spread | None:
    return record.ratio


def _compile_each(record: GrowthRecord) -> Spread | None:
    seconds = record.compile_seconds
    return None if seconds is None else _exactly(seconds)


def _fitted(fit: Fit | None) -> Spread | None:
    """From one standard error below the exponent to one above."""
    if fit is None:
        return None
    error = fit.error or 0.0
    return Spread(fit.exponent, fit.exponent - error, fit.exponent + error)


def _exactly(value: float) -> Spread:
    return Spread(value, value, value)
