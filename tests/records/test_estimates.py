"""Means and intervals over seeds are Student's."""

import math

import numpy as np
import pytest

from attn.records.estimates import difference, estimate, t_quantile


@pytest.mark.parametrize(
    ("degrees", "known"),
    [
        (1, 12.706),
        (2, 4.303),
        (9, 2.262),
        (30, 2.042),
        (31, 2.0395),
        (60, 2.0003),
        (120, 1.9799),
    ],
)
def test_t_quantiles_are_the_published_ones(degrees, known):
    assert t_quantile(degrees) == pytest.approx(known, abs=6e-4)


def test_the_interval_of_three_seeds_is_4_303_standard_errors():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.302653 / math.sqrt(3))
    assert (found.low, found.high, found.n) == (2 - found.half, 2 + found.half, 3)


def test_intervals_of_five_normal_seeds_hold_the_truth_95_times_in_100():
    draws = np.random.default_rng(0).normal(size=(4000, 5)).tolist()
    held = [e.low <= 0 <= e.high for e in map(estimate, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_one_seed_has_no_interval():
    found = estimate([0.7])
    assert (found.mean, found.half, found.n) == (0.7, None, 1)


def test_a_diverged_seed_is_not_averaged_away():
    assert math.isnan(estimate([0.9, math.nan, 0.9]).mean)


def test_a_difference_has_the_interval_of_welch():
    from scipy.stats import ttest_ind

    one, other = [0.9, 0.8, 0.97], [0.5, 0.55, 0.49, 0.7, 0.6]
    known = ttest_ind(one, other, equal_var=False).confidence_interval()
    found = difference(one, other)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert found.n == 3
    assert difference([1.0, 1.0], [0.5, 0.5]).half == 0.0
    assert difference([1.0], [0.5, 0.6]).half is None
