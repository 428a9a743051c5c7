"""Solvers that do not attend find what a task gives away, and nothing else."""

from functools import partial

import numpy as np
import pytest
from small import dataset

from attn.tasks import (
    MQAR,
    Brevo,
    CommonWords,
    Dataset,
    Dates,
    FrequentWords,
    ListOps,
    SelectiveCopy,
    VariableTracking,
    WordProblem,
)
from attn.tasks.bags import baselines
from attn.tasks.base import SPLITS
from attn.tasks.shortcuts import questions, shortcuts


def made(rows):
    """Three splits that a function draws."""
    rng = np.random.default_rng(0)
    return Dataset({split: rows(rng) for split in SPLITS}, "", "")


FEW = {"num_train": 1_000, "num_valid": 100, "num_test": 500}
HOLES = [
    (CommonWords(shuffle="once", **FEW), CommonWords(**FEW), "copy of a place"),
    (FrequentWords(shuffle="once", **FEW), FrequentWords(**FEW), "copy of a place"),
    (VariableTracking(num_chains=1, **FEW), VariableTracking(**FEW), "n-th new token"),
]


@pytest.mark.parametrize("published, mended, solver", HOLES, ids=lambda x: str(x)[:9])
def test_published_rules_give_their_answers_away_and_mended_ones_do_not(
    published, mended, solver
):
    assert shortcuts(dataset(published))[solver] > 0.97
    assert max(shortcuts(dataset(mended)).values()) < 0.3


def test_a_list_of_all_variables_answers_a_text_of_one_chain():
    found = [
        VariableTracking(num_chains=chains, num_train=9, num_test=500)
        for chains in (1, 2, 4)
    ]
    one, two, four = (t.baselines(dataset(t))["all_variables"] for t in found)
    assert one == 1.0 > 0.4 > two > four
    assert four < 0.1


def test_the_first_node_of_one_graph_can_be_said_without_the_query():
    rule = {"seq_len": 256, "num_train": 9, "num_test": 300, "scored": "first"}
    one = Brevo(num_graphs=1, num_nodes=30, **rule)  # their generator: 90.6 % (0.4)
    assert one.baselines(dataset(one))["all_nodes"] == pytest.approx(0.906, abs=0.04)
    four = Brevo(num_graphs=4, **rule)
    assert four.baselines(dataset(four))["all_nodes"] < 0.4


@pytest.mark.parametrize("share", [0.3, 0.0])
def test_no_solver_reads_what_stands_after_an_answer(share):
    def rows(rng):
        tokens, answer = np.full((500, 9), 40), rng.integers(0, 40, 500)
        place = np.where(rng.random(500) < share, 2, 6)
        tokens[np.arange(500), place] = answer
        at = np.full((500, 1), 5)
        return {"tokens": tokens, "targets": answer[:, None], "positions": at}

    found = shortcuts(made(rows))
    assert found["n-th new token"] == pytest.approx(share, abs=0.08)
    assert max(found.values()) < share + 0.1


def test_what_stands_after_an_answer_does_not_choose_what_is_copied():
    def rows(rng):
        tokens, answer = np.zeros((500, 9), int), rng.integers(1, 40, 500)
        answer[:200] = 0  # which is read; the others are not
        tokens[:, 6] = answer
        at = np.full((500, 1), 5)
        return {"tokens": tokens, "targets": answer[:, None], "positions": at}

    found = shortcuts(made(rows))
    assert found["n-th new token"] == found["copy of a place"] == 0.4


def test_pairs_with_a_token_that_train_lacks_are_pairs_of_their_own():
    def rows(pairs):
        tokens = np.array([pair[:2] for pair in pairs])
        at = np.ones((len(pairs), 1), int)
        return {"tokens": tokens, "targets": np.array(pairs)[:, 2:], "positions": at}

    train = rows([(0, 0, 0)] * 3 + [(0, 1, 1)])  # read 1 after 0: say 1
    test = rows([(2, 0, 0)])  # read 0 after 2: new, so what is commonest
    found = shortcuts(Dataset({"train": train, "valid": train, "test": test}, "", ""))
    assert found["two tokens read"] == 1.0


@pytest.mark.exhaustive
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


def test_a_running_product_gives_nothing_away_and_a_selective_copy_its_order():
    found = shortcuts(dataset(WordProblem(seq_len=32, num_train=500)))
    assert max(found.values()) < 1 / 6 + 0.12
    found = shortcuts(dataset(SelectiveCopy(num_tokens=2, **FEW)))
    # The blank, the first symbol, and the second unless it is the first once more.
    assert found.pop("n-th new token") == pytest.approx(1 - 1 / 28, abs=0.03)
    assert max(found.values()) < 1 / 14 + 0.12


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


@pytest.mark.parametrize("documents", [1, 2])
def test_a_bag_tells_what_counts_tell_and_nothing_of_order(documents):
    def rows(rng, ordered):
        lengths = rng.integers(6, 11, (400, documents))
        target = rng.integers(0, 2, (400, 1))
        tokens = rng.integers(0, 8, (400, 20))
        half = rng.permuted(np.tile(np.arange(20) < 10, (400, 1)), axis=1)
        tokens[half] += 8 if ordered else 8 * np.repeat(target, 10)
        if ordered:  # the first two are in order, wherever they are in the alphabet
            tokens[:, :2] = np.sort(tokens[:, :2], axis=1)
            tokens[:, 1] += tokens[:, 0] == tokens[:, 1]
            tokens[:, :2] = np.where(target, tokens[:, :2], tokens[:, 1::-1])
        seen = (np.arange(20 // documents) < lengths[..., None]).reshape(400, 20)
        padding = 16 + target * ordered  # which would tell all
        tokens = np.where(seen, tokens, padding)
        lengths = lengths if documents > 1 else lengths[:, 0]
        return {"tokens": tokens, "targets": target, "lengths": lengths}

    told = shortcuts(made(partial(rows, ordered=False)), documents)
    assert told["bag of tokens"] > 0.97 > max(told[x] for x in told if "bag" not in x)
    assert (
        shortcuts(made(partial(rows, ordered=True)), documents)["bag of tokens"] < 0.6
    )


def test_a_bag_is_the_baseline_of_padded_rows_and_is_asked_of_whole_rows_alone():
    def rows(rng):
        targets = rng.integers(0, 3, (300, 1))
        tokens = np.minimum(rng.poisson(2 + targets, (300, 7)), 9)
        return {
            "tokens": tokens,
            "targets": targets,
            "lengths": rng.integers(1, 8, 300),
        }

    data = made(rows)
    assert shortcuts(data)["bag of tokens"] == baselines(data, 3, 10)["bag_of_tokens"]
    assert "bag of tokens" not in shortcuts(dataset(MQAR(**FEW)))


def test_padding_behind_a_target_is_no_question():
    pytest.importorskip("babel")
    task = Dates(num_dates=400, seq_len=16)
    rows = task.rows("test")
    asked = questions(rows, 1)
    assert asked.weights.sum() == rows["lengths"].sum() < rows["targets"].size
