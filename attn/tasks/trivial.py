"""Trivial predictors of rows whose targets are tokens, as accuracies on the test split.

None of them attends: each says what it learned of a position, or counts tokens.
"""

import numpy as np
from jaxtyping import Int, Integer

from attn.tasks.base import Dataset, Rows

LOOKED_AT = 4096
"""Train rows from which `fixed_place` learns."""


def accuracy(guess: Integer[np.ndarray, "#n #P"], rows: Rows) -> float:
    """The share of targets that are guessed, weighted as the metric weighs them."""
    return float(np.average(guess == rows["targets"], weights=rows.get("weights")))


def majority(data: Dataset) -> float:
    """The accuracy of saying the commonest train target of each position."""
    train, test = data.splits["train"], data.splits["test"]
    counts = np.zeros((train["tokens"].shape[1], train["targets"].max() + 1))
    weights = train.get("weights", 1.0)
    np.add.at(counts, (train["positions"], train["targets"]), weights)
    return accuracy(counts.argmax(axis=1)[test["positions"]], test)


def fixed_place(data: Dataset) -> float:
    """The accuracy of saying, at each position, the token of one place before it.

    It is the place that held the target most often in train.
    """
    train = {key: array[:LOOKED_AT] for key, array in data.splits["train"].items()}
    test = data.splits["test"]
    weights = train.get("weights", np.ones(train["targets"].shape))
    places = np.zeros(train["tokens"].shape[1], int)
    for position in np.unique(train["positions"]):
        row, slot = np.nonzero(train["positions"] == position)
        held = train["tokens"][row, : position + 1] == train["targets"][row, slot, None]
        places[position] = (weights[row, slot] @ held).argmax()
    guess = np.take_along_axis(test["tokens"], places[test["positions"]], axis=1)
    return accuracy(guess, test)


def commonest(
    tokens: Integer[np.ndarray, "n T"], first: int, end: int
) -> Int[np.ndarray, "n 1"]:
    """Each row's commonest token among `first` .. `end` - 1; the smallest of several."""
    counts = [(tokens == token).sum(axis=1) for token in range(first, end)]
    return first + np.argmax(counts, axis=0)[:, None]


def last_read(rows: Rows) -> Integer[np.ndarray, "n P"]:
    """The token that is read where each target is said."""
    return np.take_along_axis(rows["tokens"], rows["positions"], axis=1)
