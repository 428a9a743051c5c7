"""A grid of learning rates is as many runs, and its best is taken."""

import math
from dataclasses import replace

import numpy as np
import pytest
from test_loop import Watching, train
from tiny import RECALL, TRAIN, experiment_of

from attn.data.build import prepare
from attn.records.result import Tuning
from attn.train.tune import FIRST_SEED, NoRate, beyond, choose, search, train_grid

RATES = (1e-3, 1e-2, 1e30)
EXPERIMENT = experiment_of(train=replace(TRAIN, peak_lr=2e-3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(RECALL, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def grid(data):
    found = train_grid(EXPERIMENT, RATES, data, seeds=2, watcher=Watching())
    return choose(found, higher=True)


def test_every_rate_scores_as_a_run_of_its_own(grid, data, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    alone = replace(
        EXPERIMENT,
        train=replace(EXPERIMENT.train, peak_lr=RATES[1]),
        seeds=2,
        first_seed=FIRST_SEED,
    )
    result, _ = train(tmp_path / "run", experiment=alone)
    np.testing.assert_allclose(grid.valid[1], result.valid["accuracy"], atol=1e-6)


def test_a_rate_that_diverges_is_left_out_and_says_so(grid):
    assert np.isnan(grid.valid[2]).all()
    assert math.isnan(grid.score(1e30))
    assert grid.chosen in RATES[:2]
    assert grid.score(grid.chosen) == max(map(grid.score, RATES[:2]))
    assert grid.before == 2e-3
    assert math.isnan(grid.score(5.0)), "not in the grid"


def test_no_rate_left_is_an_error_in_one_line():
    with pytest.raises(NoRate, match=r"all rates diverged: 1e\+30, 1e\+31"):
        search(table({1e30: math.nan, 1e31: math.nan}), (1e30, 1e31), higher=True)


@pytest.mark.parametrize(("higher", "chosen"), [(True, 0.1), (False, 0.2)])
def test_the_best_mean_is_chosen_and_the_lower_of_equal_ones(higher, chosen):
    valid = ((0.9, 0.7), (0.1, 0.3), (0.8, 0.8), (math.nan, 1.0))
    found = Tuning((0.1, 0.2, 0.3, 0.4), valid, 0.3, math.nan)
    assert choose(found, higher=higher).chosen == chosen


def table(scores):
    """A grid that is looked up; other rates diverge."""

    def grid(rates):
        valid = tuple((float(scores.get(rate, math.nan)),) for rate in rates)
        return Tuning(tuple(rates), valid, 1.0, math.nan)

    return grid


@pytest.mark.parametrize(
    ("scores", "chosen", "tried"),
    [
        ({1.0: 1, 2.0: 2, 4.0: 1}, 2.0, (1, 2, 4)),
        ({1.0: 1, 2.0: 2, 4.0: 3, 8.0: 4, 16.0: 3}, 8.0, (1, 2, 4, 8, 16)),
        ({1.0: 1, 2.0: 2, 4.0: 3}, 4.0, (1, 2, 4, 8, 16)),
        ({0.0625: 9, 0.125: 8, 0.25: 7, 0.5: 6, 1.0: 5}, 0.0625, (0.0625, 0.125, 0.25, 0.5, 1, 2, 4)),
        ({0.5: 1}, 0.5, (0.25, 0.5, 1, 2, 4)),
    ],
)  # fmt: skip
def test_a_grid_whose_best_lies_at_an_end_is_extended(scores, chosen, tried):
    found = search(table(scores), (1.0, 2.0, 4.0), higher=True, extensions=2)
    assert found.chosen == chosen
    assert found.rates == tried
    assert all(found.score(rate) == scores[rate] for rate in scores if rate in tried)


def test_a_grid_whose_best_lies_within_is_not_extended():
    found = table({1.0: 1, 2.0: 2, 4.0: 1})((1.0, 2.0, 4.0))
    assert beyond(found, higher=True) == ()
    assert beyond(found, higher=False) == (0.25, 0.5)
