"""Growth of cost with length: fitted exponents, and crossovers with softmax."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from attn.bench.ours import OURS, Ours, runners
from attn.bench.record import CaseRecord, Crossover, Fit, GrowthRecord, Row
from attn.bench.suite import Scaling


def fit(values: Mapping[int, float | int]) -> Fit | None:
    """Fits value = c tokens^e by least squares of the logarithms.

    None of fewer than two lengths, and where a value is 0. The standard error is that
    of a slope, from the residuals, and needs three.
    """
    if len(values) < 2 or min(values.values()) <= 0:
        return None
    x, y = (np.log(list(side)) for side in (values, values.values()))
    if len(values) == 2:
        return Fit(float(np.polyfit(x, y, 1)[0]), None, tuple(sorted(values)))
    (slope, _), spread = np.polyfit(x, y, 1, cov=True)
    return Fit(float(slope), float(spread[0, 0]) ** 0.5, tuple(sorted(values)))


def crossover(ratios: Mapping[int, float]) -> Crossover | None:
    """The length from which a ratio stays below 1, interpolated between logarithms.

    Where a ratio is not below 1 at the end: whether it falls towards it, by more than
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
    return Crossover("at", round(before * (after / before) ** (high / (high - low))))


def growth(cases: Sequence[CaseRecord], scaling: Scaling) -> tuple[GrowthRecord, ...]:
    """The cost growth of every mechanism in both directions, from rows of the cases."""
    return tuple(
        _growth(one, backward, cases, scaling)
        for one in runners(scaling)
        for backward in (False, True)
    )


def _growth(
    one: Ours,
    backward: bool,
    cases: Sequence[CaseRecord],
    scaling: Scaling,
) -> GrowthRecord:
    rows = {
        case.tokens: row
        for case in cases
        if case.backward == backward and (row := case.row(one.name))
    }
    long = {t: row for t, row in rows.items() if t >= scaling.fit_from}
    ratios = {t: row.ratio.median for t, row in rows.items() if row.ratio}
    mark = rows.get(scaling.mark)
    return GrowthRecord(
        one.mechanism,
        one.family,
        one.name,
        backward,
        time=fit({t: row.time.median for t, row in long.items() if row.time}),
        scratch=fit({t: row.temp_bytes for t, row in long.items() if row.temp_bytes}),
        ratio=mark.ratio if mark else None,
        crossover=None if one.name == OURS else crossover(ratios),
        compile_seconds=mark.compile_seconds if mark else None,
        note=_note(rows, mark),
    )


def _note(rows: Mapping[int, Row], mark: Row | None) -> str:
    """The remark on a mechanism: its settings, and the first length without samples."""
    said = [mark.reason] if mark is not None and mark.ms and mark.reason else []
    for tokens, row in sorted(rows.items()):
        if row.ms is None:
            said.append(f"{tokens:,} tokens: {row.status}: {row.reason}")
            break
    return "; ".join(said)
