"""A record as tables before they are drawn: targets, growth, compiling, masks, cases."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from attn.bench.measure import Spread
from attn.bench.record import (
    CaseRecord,
    Crossover,
    Fit,
    GrowthRecord,
    Judgement,
    Record,
    Row,
)
from attn.plots.units import NONE, memory, milliseconds


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn; the first column is text, and so is the last."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(record: Record) -> list[Sheet]:
    """Targets first, then our limits, then every case."""
    found = [_targets(record.targets)] if record.targets else []
    if record.growth:
        found.append(_growth(record))
    if record.compiling:
        found.append(_compiling(record))
    if record.density:
        found.append(_density(record))
    return [*found, *map(_case, record.cases)]


def _targets(targets: Sequence[Judgement]) -> Sheet:
    rows = []
    for target in targets:
        sign = ">=" if target.higher_is_better else "<="
        unit = "x" if target.higher_is_better else ""
        rows.append(
            (
                target.title,
                target.against or "itself",
                f"{sign} {target.bound:g}{unit}",
                f"{target.aim:g}{unit}",
                spread(target.found),
                target.verdict,
                target.where,
            )
        )
    columns = ("target", "against", "bound", "aim", "measured", "verdict", "where")
    return Sheet("Targets", columns, tuple(rows))


def _compiling(record: Record) -> Sheet:
    rows = [
        (
            case.name,
            spread(Spread.of(case.samples_seconds)),
            memory(case.temp_bytes),
            "compiled, not run",
        )
        for case in record.compiling
    ]
    columns = ("case", "compile, s", "scratch", "note")
    return Sheet(
        "Compile time and scratch memory of attn blockwise", columns, tuple(rows)
    )


def _density(record: Record) -> Sheet:
    rows = [
        (
            case.name,
            f"{case.density:.2%}",
            spread(case.ms),
            spread(case.excess),
            "1 is ideal",
        )
        for case in record.density
    ]
    columns = ("case", "density", "ms", "time / (density x own dense time)", "note")
    return Sheet("attn blockwise under masks", columns, tuple(rows))


def _growth(record: Record) -> Sheet:
    """A line a mechanism, by family; both directions side by side."""
    directions = defaultdict(dict)
    for one in record.growth:
        directions[one.family, one.mechanism][one.backward] = one
    families = list(dict.fromkeys(family for family, _ in directions))
    fitted = max((x.time.tokens for x in record.growth if x.time), key=len, default=())
    rows = [
        _grown(pair[False], pair[True], len(fitted))
        for (family, _), pair in sorted(
            directions.items(), key=lambda item: families.index(item[0][0])
        )
    ]
    at = f"at {record.mark:,}"
    columns = (
        *("mechanism", "family", "time exponent, forward", "forward + backward"),
        *("scratch exponent, forward", "forward + backward"),
        *(f"time over softmax {at}, forward", "forward + backward"),
        *("faster from, tokens, forward", "forward + backward"),
        *(f"compile {at}, s", "note"),
    )
    said = ", ".join(f"{tokens:,}" for tokens in fitted)
    title = f"Growth with the text; exponents fitted to {said} tokens"
    return Sheet(title, columns, tuple(rows))


def _grown(
    forward: GrowthRecord, trained: GrowthRecord, lengths: int
) -> tuple[str, ...]:
    pair = (forward, trained)
    took = trained.compile_seconds
    return (
        forward.mechanism,
        forward.family,
        *(exponent(one.time, lengths) for one in pair),
        *(exponent(one.scratch, lengths) for one in pair),
        *(spread(one.ratio) for one in pair),
        *(overtaken(one.crossover) for one in pair),
        NONE if took is None else f"{took:.2f}",
        # What stopped it with gradients stopped it first, or nothing did.
        trained.note or forward.note,
    )


def exponent(fit: Fit | None, lengths: int) -> str:
    """`1.02 ± 0.03`; of how many lengths where not of all."""
    if fit is None:
        return NONE
    error = "" if fit.error is None else f" ± {fit.error:.2f}"
    fewer = len(fit.tokens) < lengths
    return f"{fit.exponent:.2f}{error}" + f" ({len(fit.tokens)} lengths)" * fewer


def overtaken(crossover: Crossover | None) -> str:
    """`1,730`, `below 1,024`, `beyond 16,384`, or `never seen`."""
    if crossover is None:
        return NONE
    if crossover.kind == "never":
        return "never seen"
    lead = "" if crossover.kind == "at" else f"{crossover.kind} "
    return f"{lead}{crossover.tokens:,}"


def _case(case: CaseRecord) -> Sheet:
    columns = (
        *("rival", "ms", "x ours", "useful GFLOP/s", "share", "scratch", "error"),
        "note",
    )
    return Sheet(case.name, columns, tuple(map(_row, case.rows)))


def _row(row: Row) -> tuple[str, ...]:
    reason = row.reason if row.status == "ok" else f"{row.status}: {row.reason}"
    slow = f"{milliseconds(row.samples_ms[0])} once" if row.status == "slow" else NONE
    return (
        row.rival,
        spread(row.ms) if row.ms else slow,
        spread(row.ratio),
        NONE if row.gflops is None else f"{row.gflops:.3g}",
        NONE if row.share is None else f"{row.share:.0%}",
        memory(row.temp_bytes),
        NONE if row.error is None else f"{row.error:.0e}".replace("0e+00", "0"),
        reason,
    )


def spread(value: Spread | None) -> str:
    """`61.2 (60.1 to 64.0)`; one number where all are the same."""
    if value is None:
        return NONE
    texts = [milliseconds(x) for x in (value.median, value.low, value.high)]
    if value.low == value.high:
        return texts[0]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"
