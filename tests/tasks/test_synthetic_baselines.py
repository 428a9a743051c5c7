"""Trivial baselines of synthetic tasks, and the laws that rows are drawn by."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import solvers
from small import BY_NAME, TASKS, dataset

from attn.tasks import (
    AssociativeRecall,
    Brevo,
    Copy,
    Depo,
    FrequentWords,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    VariableTracking,
    WordProblem,
)

each = pytest.mark.parametrize("task", TASKS, ids=list(BY_NAME))


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


def best_places(data, view=list):
    """The place of a view that held the train target most often, at each position."""
    tables = defaultdict(Counter)
    for read, target in asked(data, "train"):
        held = (i for i, token in enumerate(view(read)) if token == target)
        tables[len(read)].update(held)
    return {n: max(sorted(held), key=held.get, default=0) for n, held in tables.items()}


def once(read):
    """The tokens that were read, without repetitions."""
    return list(dict.fromkeys(read))


def at_most(tokens, place):
    return tokens[place] if place < len(tokens) else None


def nth_variable(read):
    """The n-th variable of a text; n - 1 variables were said after the question."""
    mark = read.index(max(read))
    names = [token for token in once(read[:mark]) if token < 15]
    return names[len(read) - mark - 2]


def next_node(read):
    """The next name in an order of all graphs, of those after the question none."""
    mark = read.index(max(read))
    nodes = list(map(str, read))
    parents = solvers.parents_of(nodes[:mark])
    order = solvers.in_order(parents, set(parents), nodes[mark + 2 :])
    return int(next(order, -1))


@each
def test_baselines_are_what_a_direct_computation_gives(task):
    data = dataset(task)
    found = task.baselines(data)
    table, place = said_before(data), best_places(data)
    nth = best_places(data, once)
    special = {"induction": 7, "selective_copy": 6}.get(task.name)
    direct = {
        "majority": lambda read: table.get(len(read), 0),
        "fixed_place": lambda read: read[place.get(len(read), 0)],
        "nth_new": lambda read: at_most(once(read), nth.get(len(read), 0)),
        "all_variables": nth_variable,
        "all_nodes": next_node,
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
        "common_words": lambda read: rng.choice(once(read[:27])),
        "frequent_words": lambda read: rng.choice(once(read[:58])),
        "variable_tracking": lambda read: rng.choice([t for t in once(read) if t < 15]),
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


def test_words_come_as_often_as_zipf_says():
    task = FrequentWords(num_train=1)
    found = Counter(task.rows("train")["tokens"][0, :125].tolist()).most_common()
    assert [count for _, count in found] == [83, 20, 9, 5, 3, 2, 1, 1, 1]  # 83 / k^2
    assert found[0][0] == task.num_words + 1


def test_a_chain_that_is_asked_begins_first_as_often_as_others():
    task = VariableTracking(num_hops=1, num_chains=3, num_train=4000)
    rows = task.rows("train")
    names = np.where(rows["tokens"] < task.num_names, rows["tokens"], 99)
    first = np.take_along_axis(names, (names < 99).argmax(axis=1)[:, None], axis=1)
    assert np.mean(first == rows["targets"][:, :1]) == pytest.approx(1 / 3, abs=0.03)


def test_the_node_that_is_asked_has_one_to_four_parents_equally_often():
    task = Brevo(num_graphs=1, num_nodes=5, seq_len=26, num_test=1500)
    tokens = task.rows("test")["tokens"].astype(int)
    asked = np.take_along_axis(
        tokens, (tokens == 6).argmax(axis=1)[:, None] + 1, axis=1
    )
    edges = np.where(np.cumsum(tokens == 6, axis=1) > 0, -1, tokens)
    uniform((edges[:, 1::2] == asked).sum(axis=1) - 1, 4)


def test_graphs_shrink_in_training_and_are_whole_in_tests():
    task = Brevo(num_graphs=1, num_nodes=6, seq_len=40, num_train=2000, num_test=50)
    seen = [len(set(row[row < 6].tolist())) for row in task.rows("train")["tokens"]]
    assert set(seen) == {3, 4, 5, 6}
    assert min(len(set(r[r < 6].tolist())) for r in task.rows("test")["tokens"]) >= 5
