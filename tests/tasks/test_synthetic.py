"""The rules of synthetic tasks, by solvers that read labels, and what their rows are."""

import hashlib
import re
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import (
    SPLITS,
    TASKS,
    AssociativeRecall,
    Copy,
    Depo,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    Sort,
    WordProblem,
)
from attn.tasks.synthetic import Synthetic, split_of

FEW = {"num_train": 150, "num_valid": 20, "num_test": 60}
EACH = [task for task in TASKS.values() if issubclass(task, Synthetic)]


def induction(task, words):
    answer = words[words.index(">") + 1]
    assert words.count(">") == 2
    return [(len(words) - 1, answer)]


def associative_recall(task, words):
    *pairs, separator, asked = words
    assert separator == "=>"
    values = {}
    for key, value in zip(pairs[::2], pairs[1::2]):
        assert key.startswith("~") or values.setdefault(key, value) == value
    return [(len(words) - 1, values[asked])]


def selective_copy(task, words):
    mark = words.index(">")
    symbols = [word for word in words[:mark] if word != "-"]
    assert set(words[mark + 1 :]) == {"-"}
    return list(enumerate(symbols, mark + 1))


def copy(task, words):
    end = words.index("|")
    return list(enumerate(words[:end], end))


def sort(task, words):
    end = words.index("|")
    numbers = sorted(int(word) for word in words[:end])
    assert not task.unique or len(set(numbers)) == end
    return [(end + i, str(number)) for i, number in enumerate(numbers)]


def ngram_lookup(task, words):
    n, P = task.n, task.num_answers
    shape = (
        rf"\$(.{{{n}}})\|(.+)\|.*" if task.key == "prefix" else rf"\$(.+)\|(.{{{n}}}).*"
    )
    first, second = re.fullmatch(shape, "".join(words)).groups()
    key, string = (first, second) if task.key == "prefix" else (second, first)
    (place,) = (i for i in range(len(string)) if string.startswith(key, i))
    answer = string[place + n : place + n + P]
    return list(enumerate(answer, len(words) - P))


def word_problem(task, words):
    if task.group == "z7":
        sums = [sum(map(int, words[: t + 1])) % 7 for t in range(len(words))]
        return [(t, str(total)) for t, total in enumerate(sums)]
    answers = []
    for t in range(len(words)):
        factors = words[t::-1]
        walk = (
            reduce(lambda i, x: x[int(i)], factors, i) for i in range(len(words[0]))
        )
        answers.append((t, "".join(walk)))
    return answers


def mano(task, words):
    reader = iter(words)

    def value():
        word = next(reader)
        if word.isdecimal():
            return int(word)
        a, b = value(), value()
        return {"+": a + b, "-": a - b, "*": a * b}[word]

    worth = value() % task.modulus
    assert next(reader) == "="
    return [(words.index("="), str(worth))]


def depo(task, words):
    begin = next(i for i, word in enumerate(words) if word.startswith("k"))
    after = dict(zip(words[0:begin:2], words[1:begin:2]))
    assert sorted(after) == sorted(after.values())
    found, place = [], begin
    while place + 1 < len(words) and words[place] != "_":
        node = asked = words[place + 1]
        for _ in range(int(words[place][1:])):
            node = after[node]
        found.append((place + 1, node))
        assert asked in after
        place += 3
    return found


CONFIGS = [
    Induction(**FEW),
    Induction(seq_len=4, vocab_size=40, **FEW),
    AssociativeRecall(**FEW),
    AssociativeRecall(seq_len=64, vocab_size=24, noise_vocab=5, noise_share=0.4, **FEW),
    SelectiveCopy(**FEW),
    SelectiveCopy(seq_len=9, num_tokens=4, **FEW),
    Copy(**FEW),
    Copy(seq_len=13, min_tokens=6, **FEW),
    Sort(**FEW),
    Sort(seq_len=17, vocab_size=30, min_tokens=3, unique=True, **FEW),
    NgramLookup(**FEW),
    NgramLookup(seq_len=30, vocab_size=12, n=2, num_answers=4, key="suffix", **FEW),
    NgramLookup(seq_len=23, n=4, num_answers=3, **FEW),
    WordProblem(seq_len=20, **FEW),
    WordProblem(seq_len=12, group="s5", **FEW),
    WordProblem(seq_len=12, group="a5", **FEW),
    WordProblem(seq_len=20, group="z7", **FEW),
    Mano(**FEW),
    Mano(seq_len=11, modulus=7, operators="ma", **FEW),
    Depo(**FEW),
    Depo(seq_len=34, num_nodes=7, min_nodes=7, num_queries=5, max_hops=9, **FEW),
]


@pytest.mark.parametrize("task", CONFIGS, ids=lambda task: task.name)
def test_a_solver_in_plain_python_recovers_every_target(task):
    solve = globals()[task.name]
    for split in ("train", "test"):
        for row in task.examples(split):
            words = [task.label(token) for token in row["tokens"].tolist()]
            at = row.get("positions", np.arange(task.seq_len))
            counts = row.get("weights", np.ones(len(at))) > 0
            said = [task.label(token) for token in row["targets"][counts].tolist()]
            assert list(zip(at[counts].tolist(), said)) == solve(task, words)


@pytest.mark.parametrize("task", EACH, ids=lambda task: task.name)
def test_every_token_has_a_label_of_its_own(task):
    labels = [task().label(token) for token in range(task().vocab_size)]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) < 6


SHA256 = {
    "induction": "fba5453fafcf911c",
    "associative_recall": "d0fd433a2f190be1",
    "selective_copy": "15fa5aa724f2fa20",
    "copy": "6b948ad6b0f2f528",
    "sort": "560d4e086f26be8e",
    "ngram_lookup": "677f719678b41370",
    "word_problem": "e704fa05a890aea5",
    "mano": "bdf5a6e68d97cd7d",
    "depo": "7df92e8044ae11a8",
}


@pytest.mark.parametrize("task", EACH, ids=lambda task: task.name)
def test_rows_are_the_same_in_every_process(task):
    digest = hashlib.sha256()
    for split in SPLITS:
        for key, array in sorted(task(**FEW).rows(split).items()):
            digest.update(f"{split} {key} {array.shape} {array.dtype}".encode())
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == SHA256[task.name]


@pytest.mark.parametrize("task", EACH, ids=lambda task: task.name)
def test_a_longer_split_begins_with_the_rows_of_a_shorter(task):
    short, long = (task(num_train=n).rows("train") for n in (20, 900))
    for key, array in short.items():
        np.testing.assert_array_equal(long[key][:20], array)


TIGHT = [
    Induction(seq_len=5, vocab_size=4, **FEW),
    AssociativeRecall(seq_len=6, **FEW),
    SelectiveCopy(seq_len=8, vocab_size=4, num_tokens=3, **FEW),
    Copy(seq_len=6, vocab_size=6, min_tokens=1, **FEW),
    Sort(seq_len=6, vocab_size=6, **FEW),
    NgramLookup(seq_len=10, vocab_size=5, n=1, **FEW),
    WordProblem(seq_len=6, group="parity", **FEW),
    Mano(seq_len=6, modulus=3, **FEW),
    Depo(seq_len=14, num_nodes=3, num_queries=3, num_names=3, max_hops=1, **FEW),
]


@pytest.mark.parametrize("task", TIGHT, ids=lambda task: task.name)
def test_splits_share_no_row_even_where_few_are_possible(task):
    assert {type(task) for task in TIGHT} == set(EACH)
    other = replace(task, data_seed=1).rows("test")
    train, valid, test, other = (
        {row.tobytes() for row in rows["tokens"]}
        for rows in (*map(task.rows, SPLITS), other)
    )
    assert not train & valid | train & test | valid & test | train & other


def test_an_eighth_of_all_rows_is_held_out_for_each_split():
    tokens = np.random.default_rng(0).integers(0, 9, (40_000, 11))
    shares = np.bincount(split_of(tokens)) / len(tokens)
    np.testing.assert_allclose(shares, [0.75, 0.125, 0.125], atol=0.01)
    assert (split_of(tokens) == split_of(tokens.astype(np.uint8))).all()


def test_a_split_that_can_have_no_row_is_told():
    task = WordProblem(seq_len=1, group="parity")
    held = {SPLITS[i] for i in split_of(np.array([[0], [1]]))}
    split = next(split for split in SPLITS if split not in held)
    words = "WordProblem.seq_len = 1 allows too few rows: none is of split"
    with pytest.raises(UserError, match=f"{words} '{split}'; make it longer"):
        task.rows(split)
