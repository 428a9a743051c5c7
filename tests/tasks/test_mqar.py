"""The rules of multi-query associative recall, and its trivial baselines."""

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import MQAR, SPLITS, Dataset
from attn.tasks.mqar import FILLER, distinct

SMALL = MQAR(num_train=2_000, num_valid=50, num_test=1_000)


def dataset(task: MQAR) -> Dataset:
    splits = {
        split: {key: array.astype(np.int32) for key, array in task.rows(split).items()}
        for split in SPLITS
    }
    return Dataset(splits, "", "")


@pytest.mark.parametrize(
    "task",
    [
        SMALL,
        MQAR(seq_len=17, num_pairs=3, vocab_size=9, num_train=500),
        MQAR(seq_len=32, num_pairs=8, vocab_size=18, num_train=500),
    ],
)
def test_every_key_is_asked_once_and_the_target_is_its_value(task):
    for example in list(task.examples("train"))[:300]:
        tokens, context = example["tokens"], 2 * task.num_pairs
        pairs = dict(zip(tokens[0:context:2], tokens[1:context:2]))
        asked = tokens[example["positions"]]
        assert sorted(asked) == sorted(pairs) == sorted(tokens[0:context:2])
        assert [pairs[key] for key in asked] == example["targets"].tolist()
        assert (example["positions"] >= context).all()
        assert (np.diff(example["positions"].astype(int)) > 0).all()


def test_keys_values_and_filler_are_three_separate_kinds():
    rows = SMALL.rows("train")
    tokens, context = rows["tokens"].astype(int), 2 * SMALL.num_pairs
    keys, values = tokens[:, 0:context:2], tokens[:, 1:context:2]
    assert (keys.min(), keys.max()) == (1, 255)
    assert (values.min(), values.max()) == (256, 511)
    rest = tokens[:, context:].copy()
    np.put_along_axis(rest, rows["positions"].astype(int) - context, FILLER, axis=1)
    assert (rest == FILLER).all()


def test_values_of_one_example_differ():
    values = np.sort(SMALL.rows("train")["targets"].astype(int), axis=1)
    assert (np.diff(values, axis=1) > 0).all()


def test_gaps_follow_the_power_law():
    task = MQAR(num_pairs=1, seq_len=16, power_a=0.01, num_train=20_000)
    gaps = (task.rows("train")["positions"][:, 0].astype(int) - 2) // 2
    law = np.arange(1, 8) ** (0.01 - 1)
    measured = np.bincount(gaps, minlength=7) / len(gaps)
    np.testing.assert_allclose(measured, law / law.sum(), atol=0.012)


def test_distinct_draws_every_ordered_choice_equally_often():
    drawn = distinct(np.random.default_rng(0), 24_000, 3, 4)
    codes, counts = np.unique(drawn @ [16, 4, 1], return_counts=True)
    assert len(codes) == 24
    assert abs(counts - 1000).max() < 150


def test_splits_and_seeds_draw_different_examples():
    train, test = (SMALL.rows(split)["tokens"][:50] for split in ("train", "test"))
    other = MQAR(num_train=2_000, data_seed=1).rows("train")["tokens"][:50]
    assert not (train == test).all(axis=1).any()
    assert not (train == other).all(axis=1).any()


def test_guessing_among_the_values_of_the_context_gives_one_in_num_pairs():
    found = SMALL.baselines(dataset(SMALL))
    assert found["chance_of_all_values"] == 1 / 256
    assert found["chance_of_context_values"] == 0.25
    assert found["last_value"] == 0.25
    assert 0.25 <= found["pair_by_position"] < 0.35


@pytest.mark.parametrize(
    ("knobs", "field"),
    [
        ({"num_pairs": 17}, "seq_len"),
        ({"vocab_size": 8}, "vocab_size"),
        ({"power_a": 0.0}, "power_a"),
        ({"num_test": 0}, "num_test"),
        ({"data_seed": -1}, "data_seed"),
    ],
)
def test_a_knob_that_cannot_be_met_is_named(knobs, field):
    with pytest.raises(UserError, match=f"MQAR.{field} = "):
        MQAR(**knobs)
