"""The text of Python's reference: its split, its windows, its counted baselines."""

import platform

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, PyDoc
from attn.tasks.ngrams import _interpolate, compressed_bits, ngram_bits
from attn.tasks.pydoc import SHARED, groups, split_texts, without_repeats
from attn.tasks.windows import rejoined

TASK = PyDoc()


def rows_of(text: bytes, length: int) -> dict[str, np.ndarray]:
    array = np.frombuffer(text, np.uint8).astype(np.int32)
    cut = np.lib.stride_tricks.sliding_window_view(array, length + 1)[::length]
    return {"tokens": cut[:, :-1], "targets": cut[:, 1:]}


def windows(text: bytes) -> set[bytes]:
    return {text[i : i + SHARED] for i in range(len(text) - SHARED + 1)}


def test_no_two_splits_share_a_window_of_64_bytes():
    train, valid, test = (windows(split_texts()[split]) for split in SPLITS)
    assert not train & test
    assert not train & valid
    assert not valid & test


def test_a_tenth_of_the_text_is_held_out_twice():
    sizes = {split: len(text) for split, text in split_texts().items()}
    total = sum(sizes.values())
    assert 0.09 < sizes["valid"] / total <= 0.101
    assert 0.09 < sizes["test"] / total <= 0.101
    assert total > 300_000


@pytest.mark.parametrize("split", ["valid", "test"])
def test_every_held_out_byte_is_scored_once(split):
    rows, text = TASK.rows(split), split_texts()[split]
    scored = rows["targets"].tobytes()
    assert scored == text[1 : 1 + len(scored)]
    assert len(text) - 1 - len(scored) < TASK.seq_len


def test_targets_are_the_next_tokens():
    rows = TASK.rows("train")
    np.testing.assert_array_equal(rows["tokens"][:, 1:], rows["targets"][:, :-1])


def test_train_windows_begin_every_half_window():
    rows, text = TASK.rows("train"), split_texts()["train"]
    assert rows["tokens"][3].tobytes() == text[384 : 384 + 256]
    tail = len(text) - len(rejoined(rows, every=2))
    assert rejoined(rows, every=2).tobytes() == text[: len(text) - tail]
    assert tail < 2 * TASK.seq_len


def test_texts_tied_by_a_chain_of_quotes_stay_together():
    a, b = bytes(range(64)), bytes(range(64, 128))
    texts = {"x": b"1" + a, "y": a + b, "z": b + b"2", "alone": b"3" * 100}
    assert groups(texts) == [["x", "y", "z"], ["alone"]]


def test_a_paragraph_is_kept_once():
    texts = {"a": "one\n\ntwo\n\none", "b": "two\n\nthree", "c": "one"}
    assert without_repeats(texts) == {"a": b"one\n\ntwo", "b": b"three"}


def test_the_python_version_is_in_the_name_of_the_dataset():
    assert TASK.slug == f"seq_len-256_python-{platform.python_version()}"


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngram_probabilities_sum_to_one(order):
    train = np.frombuffer(b"abracadabra, abracadabra!", np.uint8)
    every = np.arange(256)
    for context in (b"abr", b"zzz", b"cad"):
        prob = np.full((256, 4 - 1), 1 / 256)
        seen = np.array([[*context, x] for x in every])
        for k in range(1, order + 1):
            prob[:, max(k - 2, 0) :] = _interpolate(train, seen, k, prob, 8)
        np.testing.assert_allclose(prob[:, -1].sum(), 1, rtol=1e-12)


def test_unigram_and_bigram_agree_with_counting_by_hand():
    train, rows = np.frombuffer(b"aab", np.uint8), rows_of(b"ab", 1)
    unigram = (1 + 2 / 256) / (3 + 2)  # p(b): seen once of three, two kinds
    bigram = (1 + 2 * unigram) / (2 + 2)  # after a: b once of two, two kinds
    found = ngram_bits(train, rows)
    np.testing.assert_allclose(found[1], -np.log2(unigram))
    np.testing.assert_allclose(found[2], -np.log2(bigram))


def test_baselines_stand_in_their_order():
    rows = {
        split: {key: array.astype(np.int32) for key, array in TASK.rows(split).items()}
        for split in SPLITS
    }
    found = TASK.baselines(Dataset(rows, "", ""))
    assert found["uniform"] == 8
    assert 4.5 < found["unigram"] < 5.0
    assert 2.0 < found["ngram"] < 2.6
    assert found["xz_after_train"] < found["xz_alone"] < 3


def test_text_that_was_trained_on_costs_almost_nothing_after_it():
    text = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
    found = compressed_bits(text, text)
    assert found["xz_alone"] > 8
    assert found["xz_after_train"] < 0.2


@pytest.mark.parametrize("seq_len", [0, 7, 40_000])
def test_a_window_that_does_not_fit_the_text_is_refused(seq_len):
    with pytest.raises(UserError, match=r"PyDoc\.seq_len"):
        PyDoc(seq_len=seq_len)
