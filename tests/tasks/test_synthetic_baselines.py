"""Trivial baselines of synthetic tasks, the laws that rows are drawn by, and the knobs."""

from collections import Counter, defaultdict
from dataclasses import fields, replace

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import (
    SPLITS,
    AssociativeRecall,
    Copy,
    Dataset,
    Depo,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    Sort,
    WordProblem,
)

SIZES = {"num_train": 400, "num_valid": 1, "num_test": 1500}
TASKS = [
    Induction(seq_len=12, vocab_size=8, **SIZES),
    AssociativeRecall(**SIZES),
    SelectiveCopy(seq_len=30, num_tokens=6, vocab_size=8, **SIZES),
    Copy(seq_len=12, min_tokens=2, vocab_size=7, **SIZES),
    Sort(seq_len=10, vocab_size=9, **SIZES),
    NgramLookup(seq_len=24, vocab_size=12, num_answers=2, **SIZES),
    WordProblem(seq_len=10, **SIZES),
    Mano(seq_len=10, modulus=7, **SIZES),
    Depo(seq_len=26, num_nodes=6, num_queries=4, num_names=9, **SIZES),
]
BY_NAME = {task.name: task for task in TASKS}
each = pytest.mark.parametrize("task", TASKS, ids=list(BY_NAME))


def dataset(task):
    return Dataset(
        {
            split: {
                key: np.asarray(array, np.float32 if key == "weights" else np.int32)
                for key, array in task.rows(split).items()
            }
            for split in SPLITS
        },
        "",
        "",
    )


def asked(data, split):
    """Yields the tokens read so far and the target of each question."""
    for row, targets in enumerate(data.splits[split]["targets"].tolist()):
        rows = data.splits[split]
        tokens = rows["tokens"][row].tolist()
        for slot, target in enumerate(targets):
            at = rows["positions"][row, slot] if "positions" in rows else slot
            if "weights" not in rows or rows["weights"][row, slot]:
                yield tokens[: at + 1], target


def share(data, guess):
    """The share of test questions that a guess from what is read answers."""
    return np.mean([guess(read) == target for read, target in asked(data, "test")])


def commonest(tokens):
    return min(tokens, key=lambda token: (-tokens.count(token), token))


def said_before(data):
    """The commonest train target at each position, the smallest of several."""
    tables = defaultdict(list)
    for read, target in asked(data, "train"):
        tables[len(read)].append(target)
    return {length: commonest(targets) for length, targets in tables.items()}


def best_places(data):
    """The place that held the train target most often, at each position."""
    tables = defaultdict(Counter)
    for read, target in asked(data, "train"):
        tables[len(read)].update(i for i, token in enumerate(read) if token == target)
    return {n: max(sorted(held), key=held.get, default=0) for n, held in tables.items()}


@each
def test_baselines_are_what_a_direct_computation_gives(task):
    data = dataset(task)
    found = task.baselines(data)
    table, place = said_before(data), best_places(data)
    special = {"induction": 7, "selective_copy": 6}.get(task.name)
    direct = {
        "majority": lambda read: table[len(read)],
        "fixed_place": lambda read: read[place[len(read)]],
        "last_token": lambda read: read[-1],
        "last_value": lambda read: read[-3],
        "last_number": lambda read: read[-2],
        "commonest_value": lambda read: commonest([t for t in read if 4 <= t < 8]),
        "commonest_in_row": lambda read: commonest([t for t in read if t < special]),
        "commonest_in_string": lambda read: commonest(read[5 : 5 + task.string_len]),
        "last_two": lambda read: (
            task.table[read[-2], read[-1]] if len(read) > 1 else read[-1]
        ),
        "one_hop": lambda read: dict(zip(read[0:12:2], read[1:12:2]))[read[-1]],
    }
    for name in found.keys() & direct.keys():
        assert found[name] == pytest.approx(share(data, direct[name])), name
    assert found.keys() - direct.keys() <= {"chance", "bag", "root"}


@each
def test_chance_is_the_accuracy_of_a_uniform_guess(task):
    data, rng = dataset(task), np.random.default_rng(0)
    guesses = {
        "associative_recall": lambda read: rng.integers(4, 8),
        "depo": lambda read: rng.choice(read[:12:2]),
    }
    chance = task.baselines(data)["chance"]
    guess = guesses.get(task.name, lambda read: rng.integers(round(1 / chance)))
    count = sum(1 for _ in asked(data, "test"))
    assert share(data, guess) == pytest.approx(chance, abs=4 * (chance / count) ** 0.5)


def test_what_order_cannot_tell_is_known_exactly():
    bags = {"parity": 1, "z9": 1, "s3": 3, "a4": 4, "s4": 12, "s5": 60, "a5": 60}
    for group, commutators in bags.items():
        task = WordProblem(seq_len=16, group=group, num_train=1, num_test=9)
        assert task.baselines(dataset(task))["bag"] == 1 / commutators


def test_a_product_in_any_order_is_right_as_often_as_the_bag_line_says():
    task = WordProblem(seq_len=32, num_train=3000)
    rows, product = task.rows("train"), np.zeros(3000, int)
    for elements in np.sort(rows["tokens"], axis=1).T:
        product = task.table[product, elements]
    assert np.mean(product == rows["targets"][:, -1]) == pytest.approx(1 / 3, abs=0.04)


def test_the_first_operator_is_a_table_of_the_train_split():
    data = dataset(BY_NAME["mano"])
    tables = defaultdict(list)
    for read, target in asked(data, "train"):
        tables[read[0]].append(target)
    best = {root: Counter(t).most_common(1)[0][0] for root, t in tables.items()}
    found = BY_NAME["mano"].baselines(data)["root"]
    assert found == pytest.approx(share(data, lambda read: best[read[0]]))


def uniform(values, count):
    shares = np.bincount(values) / len(values)
    np.testing.assert_allclose(shares, 1 / count, atol=4 / (count * len(values)) ** 0.5)


def test_places_lengths_and_keys_are_equally_likely():
    rows = Induction(seq_len=8, vocab_size=9, num_train=4000).rows("train")
    uniform((rows["tokens"] == 8).argmax(axis=1), 5)
    rows = SelectiveCopy(seq_len=12, num_tokens=2, num_train=4000).rows("train")
    uniform(np.nonzero(rows["tokens"][:, :9] < 14)[1], 9)
    rows = Copy(seq_len=12, min_tokens=4, num_train=4000).rows("train")
    uniform(rows["weights"].sum(axis=1).astype(int) - 4, 3)
    rows = NgramLookup(seq_len=16, n=2, num_train=4000).rows("train")
    key, string = rows["tokens"][:, 1:3], rows["tokens"][:, 4:15]
    windows = np.stack([string[:, :-1], string[:, 1:]], axis=-1)
    uniform((windows == key[:, None]).all(axis=-1).argmax(axis=1), 9)
    rows = AssociativeRecall(seq_len=24, num_train=4000).rows("train")
    uniform(rows["tokens"][:, -1], 4)


def test_mano_draws_the_size_of_the_left_side_uniformly_and_tests_at_full_length():
    task = Mano(seq_len=8, num_train=6000, num_test=50)  # 1 .. 3 operators
    rows = task.rows("train")
    uniform(rows["positions"][:, 0] // 2 - 1, 3)
    longest = rows["tokens"][rows["positions"][:, 0] == 7].astype(int)
    signs = np.cumsum(longest < task.modulus, axis=1) - np.cumsum(
        (longest >= task.modulus) & (longest < task.modulus + 3), axis=1
    )
    ends = 1 + (signs[:, 1:] == 0).argmax(axis=1)  # where the left side is whole
    uniform((ends - 1) // 2, 3)
    assert (task.rows("test")["positions"] == 7).all()


def test_depo_draws_short_cycles_more_often_and_tests_at_full_length():
    task = Depo(seq_len=20, num_nodes=5, num_queries=3, num_train=6000, num_test=50)
    sizes = np.bincount(task.rows("train")["positions"][:, 0] // 2)[3:]
    law = 1 / (np.arange(3, 6) + 5**0.5)
    np.testing.assert_allclose(sizes / 6000, law / law.sum(), atol=0.03)
    assert (task.rows("test")["positions"][:, 0] == 11).all()


def test_noise_takes_the_share_of_pairs_that_it_is_given():
    task = AssociativeRecall(seq_len=42, vocab_size=16, noise_vocab=4, noise_share=0.5)
    tokens = replace(task, num_train=500).rows("train")["tokens"][:, :40].astype(int)
    noise = (tokens >= task.first_noise) & (tokens < task.first_noise + 4)
    assert noise.mean() == pytest.approx(0.5 * 19 / 20, abs=0.02)


OTHERS = {"noise_vocab": 1, "group": "z5", "operators": "as", "key": "suffix"}


@each
def test_every_knob_changes_the_rows(task):
    base = AssociativeRecall(vocab_size=12, noise_vocab=2, noise_share=0.3)
    task = replace(base if task.name == base.name else task, num_train=60, num_test=20)
    other = {"noise_share": 0.1, "unique": True, "num_queries": 3, "min_nodes": 4}

    def content(one):
        return [a.tobytes() for s in SPLITS for a in one.rows(s).values()]

    for field in fields(task):
        step = 2 if field.name == "seq_len" else 1
        value = getattr(task, field.name)
        changed = {**OTHERS, **other}.get(
            field.name, value + step if isinstance(value, int) else None
        )
        assert content(replace(task, **{field.name: changed})) != content(task), field


@pytest.mark.parametrize(
    ("task", "knobs", "words"),
    [
        (Induction, {"seq_len": 3}, "seq_len = 3; it must be at least 4"),
        (Induction, {"vocab_size": 2}, "vocab_size = 2; it must be at least 3"),
        (Induction, {"num_test": 0}, "num_test = 0; it must be at least 1"),
        (Induction, {"data_seed": -1}, "data_seed = -1; it must be 0 or more"),
        (AssociativeRecall, {"seq_len": 21}, "seq_len = 21; it must be even"),
        (AssociativeRecall, {"noise_vocab": 7}, "vocab_size = 10; it must be at least 11"),
        (AssociativeRecall, {"noise_share": 0.2}, "noise_share = 0.2; .* 0 where noise_"),
        (SelectiveCopy, {"num_tokens": 128}, "num_tokens = 128; it must be 1 .. 127 for"),
        (Copy, {"seq_len": 8}, "min_tokens = 5; it must be 1 .. 4, half of seq_len = 8"),
        (Copy, {"vocab_size": 3}, "vocab_size = 3; it must be at least 4"),
        (Sort, {"unique": True, "seq_len": 60}, "vocab_size = 22; it must be at least 32"),
        (NgramLookup, {"seq_len": 9, "n": 4}, "seq_len = 9; it must be at least 12"),
        (WordProblem, {"group": "q8"}, "group = 'q8'; it must be parity, z2 .. z512, s3"),
        (WordProblem, {"group": "s6"}, "group = 's6'; it must be parity, z2"),
        (Mano, {"operators": "aa"}, "operators = 'aa'; it must be some of a, s and m"),
        (Mano, {"modulus": 1}, "modulus = 1; it must be at least 2"),
        (Depo, {"num_nodes": 20}, "seq_len = 64; it must be at least 69, for edges"),
        (Depo, {"num_queries": 17}, "num_queries = 17; it must be 1 .. num_nodes = 16"),
        (Depo, {"num_names": 9}, "num_names = 9; it must be at least num_nodes = 16"),
    ],
)  # fmt: skip
def test_a_knob_that_cannot_be_met_is_told_in_one_line(task, knobs, words):
    with pytest.raises(UserError, match=f"^{task.__name__}.{words}") as told:
        task(**knobs)
    assert "\n" not in str(told.value)
