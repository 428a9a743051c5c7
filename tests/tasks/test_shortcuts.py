"""Solvers that do not attend find what a task gives away, and nothing else."""

import numpy as np
import pytest

from attn.tasks import MQAR, Dataset, ListOps, SelectiveCopy, WordProblem
from attn.tasks.base import SPLITS
from attn.tasks.shortcuts import shortcuts


def dataset(task):
    return Dataset({split: task.rows(split) for split in SPLITS}, "", "")


def made(rows):
    """Three splits that a function draws."""
    rng = np.random.default_rng(0)
    return Dataset({split: rows(rng) for split in SPLITS}, "", "")


def common_words(rng, *, leaks):
    """One token comes five times, others once; where, is the same in all rows or not."""
    n, T, V = 1_000, 30, 40
    tokens = np.stack([rng.permutation(V)[:T] for _ in range(n)])
    answer = rng.integers(0, V, n)
    for row in range(n):
        places = np.arange(5) if leaks else rng.permutation(T - 1)[:5]
        tokens[row][tokens[row] == answer[row]] = (answer[row] + 1) % V
        tokens[row, places] = answer[row]
    return {
        "tokens": tokens,
        "targets": answer[:, None],
        "positions": np.full((n, 1), T - 1),
    }


def test_answers_at_one_place_are_found_and_shuffled_ones_are_not():
    leaking = shortcuts(made(lambda rng: common_words(rng, leaks=True)))
    assert leaking["copy of a place"] == leaking["copy of a distance"] == 1.0
    mended = shortcuts(made(lambda rng: common_words(rng, leaks=False)))
    assert max(mended.values()) < 0.3
    assert mended["copy of a place"] == pytest.approx(5 / 29, abs=0.06)


def test_the_first_token_of_an_expression_gives_as_much_as_its_baseline():
    task = ListOps(num_train=2_000, num_valid=200, num_test=500)
    found, known = shortcuts(dataset(task)), task.baselines(dataset(task))
    assert found["first token"] == known["root"]
    assert found["majority"] == known["majority"]
    assert found["token of a place"] >= found["first token"] - 0.05


def test_recall_gives_away_what_its_positions_do():
    task = MQAR(num_train=2_000, num_valid=500, num_test=500)
    found = shortcuts(dataset(task))
    assert max(found, key=found.__getitem__) in (
        "copy of a distance",
        "copy of a place",
    )
    assert 0.05 < max(found.values()) < 0.45
    assert found["majority"] < 0.03


def test_a_running_product_and_a_selective_copy_give_nothing_away():
    for task, chance in ((WordProblem(seq_len=32, num_train=500), 1 / 6), (SelectiveCopy(num_train=500, num_test=500), 1 / 14)):  # fmt: skip
        found = shortcuts(dataset(task))
        assert max(found.values()) < chance + 0.12, (task.name, found)


def test_what_weighs_nothing_is_not_counted():
    def rows(rng):
        tokens = rng.integers(0, 9, (200, 6))
        targets = np.stack([tokens[:, 0], rng.integers(0, 9, 200)], axis=1)
        weights = np.tile([1.0, 0.0], (200, 1))
        at = np.tile([4, 5], (200, 1))
        return {"tokens": tokens, "targets": targets, "positions": at, "weights": weights}  # fmt: skip

    assert shortcuts(made(rows))["copy of a place"] == 1.0


def test_what_two_documents_share_is_looked_for_in_both():
    def rows(rng):
        tokens = rng.integers(0, 4, (600, 20))
        match = rng.integers(0, 2, (600, 1))
        tokens[:, 12] = np.where(match[:, 0], tokens[:, 2], (tokens[:, 2] + 1) % 4)
        ends = np.array([6, 4]) + match
        tokens[np.arange(600), ends[:, 1] + 9] = match[:, 0]
        return {"tokens": tokens, "targets": match, "lengths": ends}

    found = shortcuts(made(rows), documents=2)
    assert found["token of a place"] == found["length"] == found["last token"] == 1.0
    assert found["first token"] < 0.6

    def whole(rng):
        return {key: rows(rng)[key] for key in ("tokens", "targets")}

    assert shortcuts(made(whole))["token of a place"] < 0.6


def test_a_length_that_tells_the_class_is_found():
    def rows(rng):
        lengths = rng.integers(1, 9, 300)
        return {
            "tokens": rng.integers(0, 5, (300, 9)),
            "targets": (lengths % 2)[:, None],
            "lengths": lengths,
        }

    found = shortcuts(made(rows))
    assert found["length"] == 1.0
    assert found["last token"] < 0.7
