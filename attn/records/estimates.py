"""Means over seeds and their intervals: the one definition of ± in every table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with its 95 % interval."""

    mean: float
    half: float | None
    """Half width of the 95 % interval (Student t, n - 1 degrees); None when n = 1."""
    n: int

    @property
    def low(self) -> float:
        """The lower end of the interval; the mean itself when n = 1."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The upper end of the interval; the mean itself when n = 1."""
        return self.mean + (self.half or 0.0)


def t_quantile(degrees: float | int) -> float:
    """The 97.5 % quantile of Student's t: half a 95 % interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def estimate(values: Sequence[float | int]) -> Estimate:
    """The mean of one number a seed and its 95 % interval.

    A seed that is not finite makes the mean NaN: a diverged seed is never dropped.
    """
    n = len(values)
    if not all(math.isfinite(value) for value in values):
        return Estimate(math.nan, None, n)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Estimate(mean, t_quantile(n - 1) * spread / math.sqrt(n), n)


def difference(
    values: Sequence[float | int], others: Sequence[float | int]
) -> Estimate:
    """The difference of two means over seeds and its 95 % interval, by Welch's t test.

    It has no interval where either has one seed; `n` is the smaller number of seeds.
    """
    one, other = estimate(values), estimate(others)
    n = min(one.n, other.n)
    if one.half is None or other.half is None:
        return Estimate(one.mean - other.mean, None, n)
    shares = [(e.half or 0.0) / t_quantile(e.n - 1) for e in (one, other)]
    variance = math.fsum(share**2 for share in shares)
    if variance == 0:
        return Estimate(one.mean - other.mean, 0.0, n)
    spent = math.fsum(s**4 / (e.n - 1) for s, e in zip(shares, (one, other)))
    half = t_quantile(variance**2 / spent) * math.sqrt(variance)
    return Estimate(one.mean - other.mean, half, n)
