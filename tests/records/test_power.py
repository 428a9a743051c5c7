"""The noise floor agrees with tables of others, and with tests on drawn numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from attn.records.power import MOST, POWER, detectable, seeds_needed, spread


@pytest.mark.parametrize(
    ("effect", "seeds"), [(0.5, 64), (0.8, 26), (1.0, 17), (1.2, 12)]
)
def test_the_seeds_of_a_standardised_difference_are_those_of_cohen(effect, seeds):
    # Cohen 1988, table 2.4.1: two-sided, alpha 0.05, power 0.80.
    assert seeds_needed(1.0, 1.0, effect) == seeds


def test_welchs_test_finds_the_difference_as_often_as_said():
    rng, n, sds = np.random.default_rng(0), 5, (1.0, 3.0)
    gap = detectable(*sds, n)
    one, other = (rng.normal(0, sd, (4_000, n)) for sd in sds)
    p = stats.ttest_ind(one, other + gap, axis=1, equal_var=False).pvalue
    assert np.mean(p < 0.05) == pytest.approx(POWER, abs=0.04)


def test_more_seeds_show_less_and_more_noise_hides_more():
    assert detectable(1.0, 1.0, 3) > detectable(1.0, 1.0, 5) > detectable(1.0, 1.0, 50)
    assert detectable(2.0, 2.0, 5) == pytest.approx(2 * detectable(1.0, 1.0, 5))
    assert detectable(1.0, 3.0, 5) == detectable(3.0, 1.0, 5)
    gap = detectable(1.0, 2.0, 7)
    assert seeds_needed(1.0, 2.0, gap) == seeds_needed(1.0, 2.0, -gap) == 7


def test_what_cannot_be_known_is_not_said():
    assert math.isnan(spread([0.5]))
    assert math.isnan(spread([0.5, math.nan]))
    assert math.isnan(detectable(math.nan, 1.0, 5))
    assert math.isnan(detectable(1.0, 1.0, 1))
    assert detectable(0.0, 0.0, 3) == 0.0
    assert seeds_needed(1.0, 1.0, 0.0) is None
    assert seeds_needed(0.0, 0.0, 0.0) is None
    assert seeds_needed(1.0, 1.0, 1e-9) is None
    assert seeds_needed(math.nan, 1.0, 1.0) is None
    assert seeds_needed(0.0, 0.0, 0.1) == 2
    assert MOST >= seeds_needed(1.0, 1.0, 0.2) > 300
