"""From numbers to verdicts: does the record meet what we hold ourselves to?"""

from collections.abc import Callable, Mapping, Sequence

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
from attn.bench.suite import Target

Found = tuple[Spread | None, str]
"""A number, and where it is from; or None, and why there is none."""

MB = 1e6


def judge(
    target: Target,
    cases: Sequence[CaseRecord] = (),
    density: Sequence[DensityRecord] = (),
    compiling: Sequence[CompileRecord] = (),
    growth: Sequence[GrowthRecord] = (),
) -> Judgement:
    """The verdict on one target: the worst case counts, by its median."""
    if target.kind in GROWN:
        found, where = _grown(target, growth)
    else:
        found, where = {
            "speed": lambda: _speed(target, cases),
            "density": lambda: _density(density),
            "scratch": lambda: _scratch(compiling),
            "growth": lambda: _growth(compiling),
            "compile": lambda: _compile(compiling),
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
    """The scratch memory at the greatest length, in MB."""
    known = {
        record.tokens: record.temp_bytes for record in compiling if record.temp_bytes
    }
    if not known:
        return None, "not run, or the backend does not tell"
    longest = max(known)
    return _exactly(known[longest] / MB), f"{longest:,} tokens"


def _growth(compiling: Sequence[CompileRecord]) -> Found:
    """The scratch memory at the greatest length over that at a quarter of it."""
    known = {
        record.tokens: record.temp_bytes for record in compiling if record.temp_bytes
    }
    longest = max(known, default=0)
    if longest // 4 not in known:
        return None, "needs a length and its quarter, and a backend that tells"
    growth = _exactly(known[longest] / known[longest // 4])
    return growth, f"{longest // 4:,} to {longest:,} tokens"


def _compile(compiling: Sequence[CompileRecord]) -> Found:
    """The slowest compilation counts: a user pays for the first one."""
    if not compiling:
        return None, "not run"
    worst = max(compiling, key=lambda record: max(record.samples_seconds))
    samples = worst.samples_seconds
    return Spread(max(samples), min(samples), max(samples)), worst.name


def _exactly(value: float | None) -> Spread | None:
    return None if value is None else Spread(value, value, value)


def _fitted(fit: Fit | None) -> Spread | None:
    """From one standard error below the exponent to one above."""
    if fit is None:
        return None
    error = fit.error or 0.0
    return Spread(fit.exponent, fit.exponent - error, fit.exponent + error)


GROWN: Mapping[str, Callable[[GrowthRecord], Spread | None]] = {
    "time exponent": lambda record: _fitted(record.time),
    "scratch exponent": lambda record: _fitted(record.scratch),
    "time ratio": lambda record: record.ratio,
    "compile each": lambda record: _exactly(record.compile_seconds),
}
"""The number of a mechanism that a kind of target is about."""


def _grown(target: Target, growth: Sequence[GrowthRecord]) -> Found:
    """The worst of those whom the target names; one without a number leaves it open."""
    found: list[tuple[Spread, str]] = []
    for record in growth:
        if target.who and not {record.mechanism, record.family} & {*target.who}:
            continue
        if target.kind == "time ratio" and not record.backward:
            continue
        value, where = (
            GROWN[target.kind](record),
            f"{record.mechanism}, {record.direction}",
        )
        if value is None:
            return None, f"{where}: no number: {record.note or 'not run'}"
        found.append((value, where))
    if not found:
        return None, "not run"
    return max(found, key=lambda pair: pair[0].median)
