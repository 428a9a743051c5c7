"""The digits: a split without overlap, and the error where scikit-learn is missing."""

import sys

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, Digits

TASK = Digits()


def test_the_three_splits_are_all_images_once():
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    rows = [TASK.rows(split) for split in SPLITS]
    assert [len(r["tokens"]) for r in rows] == [1297, 200, 300]
    images, labels = load_digits(return_X_y=True)
    whole = np.column_stack([images, labels])
    ours = np.concatenate([np.hstack([r["tokens"], r["targets"]]) for r in rows])
    order, ours_order = np.lexsort(whole.T), np.lexsort(ours.T)
    np.testing.assert_array_equal(whole[order], ours[ours_order])


def test_baselines_are_those_known_for_the_set():
    pytest.importorskip("sklearn")
    rows = {
        split: {key: array.astype(np.int32) for key, array in TASK.rows(split).items()}
        for split in SPLITS
    }
    found = TASK.baselines(Dataset(rows, "", ""))
    assert found["chance"] == 0.1
    assert 0.05 < found["majority"] < 0.15
    assert 0.93 < found["logistic_regression"] < 0.99


def test_a_missing_scikit_learn_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr("attn.tasks.digits.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'attn\[data\]'"):
        TASK.rows("train")


def test_an_image_cannot_have_another_length():
    with pytest.raises(UserError, match=r"Digits\.seq_len = 65"):
        Digits(seq_len=65)
