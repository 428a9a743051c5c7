"""The noise floor: the smallest difference that seeds can show, and the seeds it takes.

Two means of n seeds each are compared by Welch's t test, two-sided at 5 %. A difference
counts as shown where the test finds it with a probability of 80 %. The spreads are
estimates themselves: from three seeds they are rough.
"""

import math
from collections.abc import Sequence
from statistics import stdev

POWER = 0.8
"""The probability that a difference which is there is found."""
MOST = 1000
"""The most seeds that are considered."""


def spread(values: Sequence[float | int]) -> float:
    """The standard deviation over seeds; NaN for fewer than two, or one that diverged."""
    finite = len(values) > 1 and all(math.isfinite(value) for value in values)
    return stdev(values) if finite else math.nan


def detectable(one: float, other: float, n: int) -> float:
    """The smallest difference of two means of n seeds that the test is likely to find.

    Args:
        one: the standard deviation over seeds of the first; `other` of the second.
    """
    from scipy.special import nctdtrinc, stdtrit

    variance = one**2 + other**2
    if variance == 0 or n < 2 or not math.isfinite(variance):
        return 0.0 if variance == 0 and n > 1 else math.nan
    degrees = (n - 1) * variance**2 / (one**4 + other**4)
    critical = stdtrit(degrees, 0.975)
    shift = nctdtrinc(degrees, 1 - POWER, critical)
    return float(shift * math.sqrt(variance / n))


def seeds_needed(one: float, other: float, difference: float) -> int | None:
    """The smallest number of seeds of each that shows a difference; None above `MOST`.

    None shows a difference of 0.
    """
    if difference == 0 or not math.isfinite(one + other + difference):
        return None
    low, high = 2, MOST
    if detectable(one, other, high) > abs(difference):
        return None
    while low < high:
        middle = (low + high) // 2
        enough = detectable(one, other, middle) <= abs(difference)
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
