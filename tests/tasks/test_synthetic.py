"""The rules of synthetic tasks, by solvers that read labels, and what their rows are."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import solvers

from attn.errors import UserError
from attn.tasks import (
    SPLITS,
    TASKS,
    AssociativeRecall,
    Brevo,
    CommonWords,
    Copy,
    Depo,
    FrequentWords,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    Sort,
    VariableTracking,
    WordProblem,
)
from attn.tasks.synthetic import Synthetic, split_of

FEW = {"num_train": 150, "num_valid": 20, "num_test": 60}
EACH = [task for task in TASKS.values() if issubclass(task, Synthetic)]


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
    Brevo(**FEW),
    Brevo(seq_len=90, num_graphs=1, num_nodes=12, scored="first", **FEW),
    CommonWords(**FEW),
    CommonWords(seq_len=60, repeats=7, other_repeats=2, shuffle="once", **FEW),
    FrequentWords(**FEW),
    FrequentWords(seq_len=62, alpha=1.5, shuffle="once", **FEW),
    VariableTracking(**FEW),
    VariableTracking(seq_len=20, num_chains=1, num_hops=2, **FEW),
]


@pytest.mark.parametrize("task", CONFIGS, ids=lambda task: task.name)
def test_a_solver_in_plain_python_recovers_every_target(task):
    solve = getattr(solvers, task.name)
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
    "brevo": "7d7a587d897c3a46",
    "common_words": "401867a87bc9cfd1",
    "frequent_words": "778d503ebfd3b611",
    "variable_tracking": "d9881d7c2c71c70a",
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
    Brevo(seq_len=10, num_graphs=1, num_nodes=3, **FEW),
    CommonWords(seq_len=6, num_words=4, num_answers=1, repeats=2, **FEW),
    FrequentWords(seq_len=11, num_words=4, num_answers=1, **FEW),
    VariableTracking(
        seq_len=8, num_chains=1, num_hops=0, num_names=4, num_values=4, **FEW
    ),
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
