"""Verdicts of benchmarks: whether a record meets its targets."""

from collections.abc import Callable, Mapping, Sequence

from attn.bench.measure import Spread
from attn.bench.record import (
    CaseRecord,
    CompileRecord,
    DecodingRecord,
    DensityRecord,
    Fit,
    GrowthRecord,
    Judgement,
    ModelRecord,
    Verdict,
)
from attn.bench.suite import Target

Found = tuple[Spread | None, str]
"""A number and the case that it is from; or None and the reason."""

MB = 1e6


def judge(
    target: Target,
    cases: Sequence[CaseRecord | ModelRecord] = (),
    density: Sequence[DensityRecord] = (),
    compiling: Sequence[CompileRecord] = (),
    growth: Sequence[GrowthRecord] = (),
    decoding: Sequence[DecodingRecord] = (),
) -> Judgement:
    """Judges one target: the worst case counts, by its median."""
    numbers = {
        "speed": lambda: _speed(target, cases),
        "density": lambda: [(x.excess, x.name) for x in density if x.density < 1],
        "scratch": lambda: _scratch(compiling),
        "growth": lambda: _growth(compiling),
        "compile": lambda: [_slowest(record) for record in compiling],
        "step growth": lambda: [_step(one) for one in decoding if _named(target, one)],
        "cache difference": lambda: [_apart(one) for one in decoding],
    }
    find = numbers.get(target.kind, lambda: _grown(target, growth))
    found, where = _worst(target, find())
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


def _worst(target: Target, found: Sequence[Found]) -> Found:
    """The worst case by its median; None where a case lacks a number."""
    sign = -1 if target.higher_is_better else 1
    known = [(sign * value.median, value, where) for value, where in found if value]
    if len(known) < len(found):
        return next(one for one in found if one[0] is None)
    _, value, where = max(known, key=lambda one: one[0], default=(0, None, "not run"))
    return value, where


def _verdict(value: float | None, target: Target) -> Verdict:
    if value is None:
        return "not measured"
    sign = 1 if target.higher_is_better else -1
    if sign * value >= sign * target.aim:
        return "aim met"
    return "met" if sign * value >= sign * target.bound else "missed"


def _speed(target: Target, cases: Sequence[CaseRecord | ModelRecord]) -> list[Found]:
    by_name = {case.name: case for case in cases}
    found: list[Found] = []
    for name in (case.name for case in target.cases):
        row = by_name[name].row(target.against) if name in by_name else None
        why = f"{target.against}: {row.reason}" if row else "not run"
        ratio = row and row.ratio
        found.append((ratio, name if ratio else f"{name}: {why}"))
    return found


def _scratch(compiling: Sequence[CompileRecord]) -> list[Found]:
    """Scratch memory at the greatest length, in MB."""
    known = _known(compiling)
    if not known:
        return [(None, "not run, or the backend does not tell")]
    longest = max(known)
    return [(_exactly(known[longest] / MB), f"{longest:,} tokens")]


def _growth(compiling: Sequence[CompileRecord]) -> list[Found]:
    """Scratch memory at the greatest length over that at a quarter of it."""
    known = _known(compiling)
    longest = max(known, default=0)
    if longest // 4 not in known:
        return [(None, "needs a length and its quarter, and a backend that tells")]
    growth = _exactly(known[longest] / known[longest // 4])
    return [(growth, f"{longest // 4:,} to {longest:,} tokens")]


def _known(compiling: Sequence[CompileRecord]) -> dict[int, int]:
    """Scratch memory in bytes, by tokens."""
    return {one.tokens: one.temp_bytes for one in compiling if one.temp_bytes}


def _slowest(record: CompileRecord) -> Found:
    """The slowest compilation, since a user pays for the first one."""
    times = record.samples_seconds
    return Spread(max(times), min(times), max(times)), record.name


def _exactly(value: float | None) -> Spread | None:
    return None if value is None else Spread(value, value, value)


def _fitted(fit: Fit | None) -> Spread | None:
    """The exponent, within one standard error either side."""
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
"""The number of a growth record that each kind of target bounds."""


def _grown(target: Target, growth: Sequence[GrowthRecord]) -> list[Found]:
    """The growth records that the target names; for ratios, with gradients alone."""
    found: list[Found] = []
    for one in growth:
        if _named(target, one) and (one.backward or target.kind != "time ratio"):
            value, where = GROWN[target.kind](one), f"{one.mechanism}, {one.direction}"
            why = f"{where}: no number: {one.note or 'not run'}"
            found.append((value, where if value else why))
    return found


def _named(target: Target, one: GrowthRecord | DecodingRecord) -> bool:
    """Whether a target is about a mechanism, by its name or its family."""
    return not target.who or bool({one.mechanism, one.family} & {*target.who})


def _step(one: DecodingRecord) -> Found:
    """The time of a step at the greatest length over that at the shortest."""
    why = f"{one.mechanism}: no number: {one.note or 'not run'}"
    return one.growth, one.mechanism if one.growth else why


def _apart(one: DecodingRecord) -> Found:
    """The bytes, at whatever length, by which a cache is not what its formula says."""
    tokens, gap = max(one.apart.items(), key=lambda x: abs(x[1]), default=(0, 0))
    where = f"{one.mechanism}, {tokens:,} tokens" if gap else "every length"
    return _exactly(float(abs(gap))), where
