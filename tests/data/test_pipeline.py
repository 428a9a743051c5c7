"""Batches as a pure function of seed and step, however they are cut and resumed."""

import threading

import numpy as np
import pytest

from attn.data.pipeline import Batches, BatchSource, calls_from, cut_steps, eval_batches
from attn.errors import UserError

ROWS = {
    "tokens": np.arange(22)[:, None] * 10 + np.arange(3),
    "targets": np.arange(22)[:, None],
    "lengths": np.arange(22),
}


def stream(calls, seeds=(0, 1), start_step=0, batch_size=4) -> list[dict]:
    with Batches(
        ROWS, batch_size=batch_size, seeds=seeds, calls=calls, start_step=start_step
    ) as batches:
        return list(batches)


def steps_of(items: list[dict]) -> np.ndarray:
    """[steps, R, B]: which rows came."""
    return np.concatenate([item["lengths"] for item in items])


def test_an_item_holds_steps_replicas_rows_of_every_key():
    (item,) = stream([3])
    assert {key: array.shape for key, array in item.items()} == {
        "tokens": (3, 2, 4, 3),
        "targets": (3, 2, 4, 1),
        "lengths": (3, 2, 4),
    }
    np.testing.assert_array_equal(item["tokens"][..., 0], 10 * item["lengths"])
    np.testing.assert_array_equal(item["targets"][..., 0], item["lengths"])
    assert all(array.dtype == np.int32 for array in item.values())


def test_the_cut_into_calls_changes_nothing():
    whole = steps_of(stream([12]))
    np.testing.assert_array_equal(whole, steps_of(stream([1] * 12)))
    np.testing.assert_array_equal(whole, steps_of(stream([5, 4, 3])))
    np.testing.assert_array_equal(whole[7:], steps_of(stream([2, 3], start_step=7)))


def test_no_row_comes_twice_in_an_epoch_and_every_epoch_is_shuffled_anew():
    steps = steps_of(stream([15], seeds=[3]))[:, 0]
    epochs = steps.reshape(3, 5 * 4)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 20
    assert not (epochs[0] == epochs[1]).all()
    assert sorted(epochs[0]) != sorted(epochs[1])  # another remainder is left out


def test_a_replica_does_not_depend_on_those_beside_it():
    together = steps_of(stream([7], seeds=[5, 9, 2]))
    for at, seed in enumerate([5, 9, 2]):
        np.testing.assert_array_equal(together[:, [at]], steps_of(stream([7], [seed])))
    assert not (together[:, 0] == together[:, 1]).all()


def test_a_batch_is_numpys_permutation_of_seed_and_epoch():
    order = np.random.default_rng([9, 1]).permutation(22)
    calls = BatchSource(ROWS, batch_size=4, seeds=[9], calls=[10])
    np.testing.assert_array_equal(calls.batch(9, 6), order[4:8])


def test_closing_ends_the_threads():
    before = threading.active_count()
    batches = Batches(ROWS, batch_size=4, seeds=[0], calls=[1] * 50)
    next(batches)
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches)
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and "grain" in thread.name:
            thread.join(timeout=5)
    assert threading.active_count() <= before


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(UserError, match="batch_size = 23 is above the 22 rows"):
        BatchSource(ROWS, batch_size=23, seeds=[0], calls=[1])


def test_steps_are_cut_at_every_mark_and_at_the_longest():
    assert cut_steps(0, 500, longest=1000) == (500,)
    assert cut_steps(0, 10, longest=4) == (4, 4, 2)
    assert cut_steps(3, 12, longest=100, every=(5, 4)) == (1, 1, 3, 2, 2)
    assert cut_steps(7, 7, longest=4) == ()


def test_calls_are_cut_from_the_start_wherever_one_goes_on():
    cuts = {"longest": 4, "every": (5,)}
    whole = calls_from(0, 12, **cuts)
    assert whole == [range(4), range(4, 5), range(5, 9), range(9, 10), range(10, 12)]
    for step in range(12):
        assert calls_from(step, 12, **cuts) == [c for c in whole if c.stop > step]
    assert calls_from(12, 12, **cuts) == []


def test_evaluation_sees_every_row_once_in_order_and_padding_weighs_nothing():
    batches = list(eval_batches(ROWS, 8))
    assert [batch["tokens"].shape for batch in batches] == [(8, 3)] * 3
    weights = np.concatenate([batch["weights"] for batch in batches])
    rows = np.concatenate([batch["lengths"] for batch in batches])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(rows[weights == 1], ROWS["lengths"])
    assert weights.sum() == 22
    mean = (weights * rows).sum() / weights.sum()
    assert mean == ROWS["lengths"].mean()


def test_rows_keep_their_own_weights():
    weighted = ROWS | {"weights": np.linspace(0, 1, 22)}
    (item,) = Batches(weighted, batch_size=4, seeds=[0], calls=[5])
    assert item["weights"].dtype == np.float32
    np.testing.assert_allclose(item["weights"], item["lengths"] / 21, rtol=1e-6)
    batches = list(eval_batches(weighted, 8))
    weights = np.concatenate([batch["weights"] for batch in batches])
    np.testing.assert_allclose(weights, [*np.linspace(0, 1, 22), 0, 0], rtol=1e-6)


def test_filling_weighs_nothing_at_any_position():
    each = np.full((22, 3), 0.5)
    (*_, last) = eval_batches(ROWS | {"weights": each}, 8)
    np.testing.assert_array_equal(last["weights"][:, 0], [0.5] * 6 + [0] * 2)
