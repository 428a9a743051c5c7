"""The formatting of numbers: units, digits and prefixes, the same everywhere."""

import math

from attn.records.estimates import Estimate

NONE = "-"

# metric: what to write, factor from stored to shown, decimals
_METRICS = {
    "accuracy": ("accuracy, %", 100.0, 1),
    "exact_match": ("exact match, %", 100.0, 1),
    "bits_per_byte": ("bits per byte", 1.0, 3),
    "bits_per_token": ("bits per token", 1.0, 3),
    "chrf": ("chrF", 1.0, 1),
    "chrf_margin": ("chrF, ± over texts", 1.0, 1),
}


def _metric(metric: str) -> tuple[str, float, int]:
    return _METRICS.get(metric, (metric.replace("_", " "), 1.0, 3))


def metric_label(metric: str) -> str:
    """A metric's name with its unit, for a column or an axis."""
    return _metric(metric)[0]


def metric_scale(metric: str) -> float:
    """The factor from a stored metric to the unit shown."""
    return _metric(metric)[1]


def metric_text(metric: str, score: Estimate, *, with_n: bool = True) -> str:
    """Formats `98.3 ± 0.4 (n=3)` in the metric's unit; the mean alone for one seed."""
    _, scale, digits = _metric(metric)
    n = f" (n={score.n})" if with_n else ""
    if not math.isfinite(score.mean):
        return f"not finite{n}"
    half = "" if score.half is None else f" ± {score.half * scale:.{digits}f}"
    return f"{score.mean * scale:.{digits}f}{half}{n}"


def quantity(value: float | int | None, unit: str = "", *, base: int = 1000) -> str:
    """Formats three digits and a prefix: `12.3 k`, `1.20 G`, `1.50 MiB`."""
    if value is None:
        return NONE
    prefixes = ["", "k", "M", "G", "T", "P"] if base == 1000 else ["", "Ki", "Mi", "Gi"]
    power = 0
    while abs(value) >= 0.9995 * base and power < len(prefixes) - 1:
        value, power = value / base, power + 1
    whole = power == 0 and value == int(value)
    digits = 0 if whole or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {prefixes[power]}{unit}".strip()


def memory(value: float | int | None) -> str:
    """Formats bytes in three digits: `1.50 MiB`."""
    return quantity(value, "B", base=1024)


def count(value: float | int | None) -> str:
    """Formats all digits, since sizes are matched to the last: `123,456`."""
    return NONE if value is None else f"{value:,}"


def milliseconds(value: float | int | None) -> str:
    """Formats a time in three digits, without its unit."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"
