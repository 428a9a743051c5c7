"""How cost grows with the text: fitted exponents, and where softmax is overtaken."""

import math
from collections.abc import Mapping, Sequence

from attn.bench.entrants import entrants
from attn.bench.record import CaseRecord, Crossover, Fit, GrowthRecord, Row
from attn.bench.rivals import OURS
from attn.bench.suites import Ladder


def fit(values: Mapping[int, float]) -> Fit | None:
    """The exponent e of value = c tokens^e by least squares of the logarithms.

    None of fewer than two lengths, and where a value is 0. The standard error is that of
    a slope, from the residuals, and needs three.
    """
    n = len(values)
    if n < 2 or min(values.values()) <= 0:
        return None
    x, y = ([math.log(z) for z in side] for side in (values.keys(), values.values()))
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    wide = math.fsum((a - mean_x) ** 2 for a in x)
    slope = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / wide
    left = math.fsum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y))
    error = math.sqrt(left / (n - 2) / wide) if n > 2 else None
    return Fit(slope, error, tuple(sorted(values)))


def crossover(ratios: Mapping[int, float]) -> Crossover | None:
    """The length from which a ratio stays below 1, by its logarithm between lengths.

    Of a ratio that is not below 1 at the end: whether it falls towards it, by more than
    the standard error of its slope over the longer half of the lengths.
    """
    tokens = sorted(ratios)
    if len(tokens) < 2:
        return None
    if ratios[tokens[-1]] >= 1:
        trend = fit({t: ratios[t] for t in tokens[-max(2, len(tokens) // 2 + 1) :]})
        falls = trend is not None and trend.exponent + (trend.error or 0.0) < 0
        return Crossover("beyond" if falls else "never", tokens[-1])
    slow = [t for t in tokens if ratios[t] >= 1]
    if not slow:
        return Crossover("below", tokens[0])
    before = slow[-1]
    after = tokens[tokens.index(before) + 1]
    high, low = math.log(ratios[before]), math.log(ratios[after])
    place = high / (high - low)
    at = before * (after / before) ** place
    return Crossover("at", round(at))


def growth(cases: Sequence[CaseRecord], ladder: Ladder) -> tuple[GrowthRecord, ...]:
    """Of every mechanism in both directions, from the rows of the ladder's cases."""
    return tuple(
        _growth(one.name, one.mechanism, one.family, backward, cases, ladder)
        for one in entrants(ladder)
        for backward in (False, True)
    )


def _growth(rival, mechanism, family, backward, cases, ladder: Ladder) -> GrowthRecord:
    rows: dict[int, Row] = {}
    for case in cases:
        row = case.row(rival)
        if case.backward == backward and row is not None:
            rows[case.tokens] = row
    long = {t: row for t, row in rows.items() if t >= ladder.fit_from}
    scratch = {t: float(row.temp_bytes) for t, row in long.items() if row.temp_bytes}
    ratios = {t: row.ratio.median for t, row in rows.items() if row.ratio}
    mark = rows.get(ladder.mark)
    return GrowthRecord(
        mechanism,
        family,
        rival,
        backward,
        time=fit({t: ms for t, row in long.items() if (ms := milliseconds(row))}),
        scratch=fit(scratch),
        ratio=mark.ratio if mark else None,
        crossover=None if rival == OURS else crossover(ratios),
        compile_seconds=mark.compile_seconds if mark else None,
        note=_note(rows, mark),
    )


def milliseconds(row: Row) -> float | None:
    """The median; of a call that was timed once, that."""
    if row.ms is not None:
        return row.ms.median
    return row.samples_ms[0] if row.samples_ms else None


def _note(rows: Mapping[int, Row], mark: Row | None) -> str:
    """What it was run with, and the first length at which it gave no samples."""
    said = [mark.reason] if mark is not None and mark.ms and mark.reason else []
    for tokens, row in sorted(rows.items()):
        if row.ms is None:
            said.append(f"{tokens:,} tokens: {row.status}: {row.reason}")
            break
    return "; ".join(said)
