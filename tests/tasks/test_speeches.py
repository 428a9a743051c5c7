"""Pairs of passages: by address in one split, balanced by passage, of no trivial answer."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from made_speeches import COUNTS

from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, Speeches, packages
from attn.tasks.shortcuts import shortcuts
from attn.tasks.similarity import bag_of_tokens, ngrams_in_common
from attn.tasks.speeches import addresses, divide, elsewhere

TASK = Speeches(seq_len=128, num_train=400, num_valid=40, num_test=200)
NAMES = re.compile("|".join(f"{a}|{b}" for a, b in (n.split("_") for n in COUNTS)))


@pytest.fixture(scope="module")
def splits(made_speeches):
    return {split: TASK.rows(split) for split in SPLITS}


def passages(rows):
    """The text of both passages of each row."""
    return [
        tuple(bytes(passage).decode() for passage in row.reshape(2, -1))
        for row in rows["tokens"]
    ]


def years(text):
    return set(re.findall(r"\b1[89]\d\d\b", text))


def president(text):
    """Who gave a passage, by the one name that is whole in it most often."""
    found = NAMES.findall(text)
    owners = [next(n for n in COUNTS if word in n.split("_")) for word in found]
    return max(sorted(set(owners)), key=owners.count)


def test_addresses_are_read_by_president_in_order_of_years(made_speeches):
    found = addresses(made_speeches)
    assert [len(own) for own in found] == [COUNTS[name] for name in sorted(COUNTS)]
    for own in found:
        first = [min(years(text.decode())) for text in own]
        assert first == sorted(first)
        assert not any(text.endswith(b"\n") for text in own)


def test_no_address_is_in_two_splits_and_each_president_has_two_where_any(
    made_speeches,
):
    for seed in range(4):
        split = divide(addresses(made_speeches), seed)
        texts = {name: {t for own in split[name] for t in own} for name in SPLITS}
        assert sum(map(len, texts.values())) == sum(COUNTS.values())
        assert not any(texts[a] & texts[b] for a, b in combinations(SPLITS, 2))
        assert {len(own) for name in SPLITS[1:] for own in split[name]} == {2}
        assert sorted(map(len, split["train"])) == [1, 2, 3, 4, 4, 5]


def test_no_passage_shares_its_address_with_another_split(splits):
    seen = {
        name: set().union(*(years(text) for pair in passages(rows) for text in pair))
        for name, rows in splits.items()
    }
    assert min(map(len, seen.values())) >= 8
    assert not any(seen[a] & seen[b] for a, b in combinations(SPLITS, 2))


def test_a_target_says_whether_both_passages_are_one_presidents(splits):
    for rows in splits.values():
        for (left, right), target in zip(passages(rows), rows["targets"][:, 0]):
            assert (president(left) == president(right)) == target
            assert not years(left) & years(right), (
                "two addresses, also where they match"
            )


def test_each_passage_is_on_its_side_in_one_matching_pair_and_one_other(splits):
    for rows in splits.values():
        assert rows["targets"].mean() == 0.5
        for side in (0, 1):
            own = rows["tokens"].reshape(len(rows["tokens"]), 2, -1)[:, side]
            for target in (0, 1):
                chosen = own[rows["targets"][:, 0] == target]
                order = np.lexsort(chosen.T)
                if target == 0:
                    other = chosen[order]
            np.testing.assert_array_equal(chosen[order], other)


def test_rows_are_those_of_the_seed(made_speeches, splits):
    again, other = TASK.rows("valid"), replace(TASK, data_seed=1).rows("valid")
    np.testing.assert_array_equal(again["tokens"], splits["valid"]["tokens"])
    assert (other["tokens"] != again["tokens"]).mean() > 0.5


@pytest.mark.parametrize("size", [2, 3, 5, 64])
def test_each_is_exchanged_for_one_of_another_group(size):
    groups = np.arange(size) % min(size, 3)
    order = elsewhere(np.random.default_rng(0), groups)
    assert sorted(order) == list(range(size))
    assert (groups[order] != groups).all()


def test_words_tell_presidents_and_one_place_does_not(splits):
    data = Dataset(splits, "", "")
    found = TASK.baselines(data)
    assert found["chance"] == found["majority"] == 0.5
    assert found["bag_of_bytes"] > 0.65
    assert found["ngrams_in_common"] > 0.8
    assert max(shortcuts(data, 2).values()) < 0.7


def test_what_is_alike_in_neither_bytes_nor_ngrams_is_not_found():
    rng = np.random.default_rng(0)
    rows = {
        "tokens": rng.integers(0, 9, (400, 64)).astype(np.uint8),
        "targets": rng.integers(0, 2, (400, 1)),
    }
    fresh = {"tokens": rng.permutation(rows["tokens"]), "targets": rows["targets"]}
    data = Dataset({"train": rows, "test": fresh}, "", "")
    assert abs(ngrams_in_common(data) - 0.5) < 0.1
    assert abs(bag_of_tokens(data, 9) - 0.5) < 0.1


def test_one_threshold_tells_copies_from_others():
    rng = np.random.default_rng(0)
    tokens, match = rng.integers(0, 9, (300, 2, 32)), rng.integers(0, 2, 300)
    tokens[match == 1, 1] = np.roll(tokens[match == 1, 0], 5, axis=1)
    rows = {"tokens": tokens.reshape(300, 64), "targets": match[:, None]}
    data = Dataset({"train": rows, "test": rows}, "", "")
    assert ngrams_in_common(data) == 1.0
    assert bag_of_tokens(data, 9) > 0.95


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"seq_len": 127}, r"Speeches\.seq_len = 127.*multiple of 2"),
        ({"num_test": 5}, r"Speeches\.num_test = 5; half of the pairs match"),
        ({"num_valid": 2}, r"Speeches\.num_valid = 2.*at least 4"),
        ({"data_seed": -1}, r"Speeches\.data_seed = -1"),
    ],
)
def test_a_bad_knob_is_refused(knobs, words):
    with pytest.raises(UserError, match=words):
        Speeches(**knobs)


def test_passages_longer_than_the_addresses_are_refused(made_speeches):
    with pytest.raises(
        UserError, match=r"seq_len = 80000; 0 presidents.*make it shorter"
    ):
        replace(TASK, seq_len=80_000).rows("test")


def test_addresses_that_were_not_fetched_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("attn.tasks.speeches.archive", packages.archive)
    for ask in (TASK.check, lambda: TASK.rows("train")):
        with pytest.raises(
            UserError, match=r"task 'speeches'.*fetch state-of-the-union"
        ):
            ask()


def test_the_real_addresses_give_pairs_that_bytes_hardly_tell(monkeypatch):
    monkeypatch.setattr("attn.tasks.speeches.archive", packages.archive)
    task = Speeches(num_train=512, num_valid=64, num_test=512)
    try:
        task.check()
    except UserError as error:
        pytest.skip(str(error))
    found = task.baselines(
        Dataset({split: task.rows(split) for split in SPLITS}, "", "")
    )
    assert 0.5 < found["bag_of_bytes"] < 0.7
    assert 0.55 < found["ngrams_in_common"] < 0.75
