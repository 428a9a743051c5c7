"""Trivial predictors of rows whose targets are tokens, as accuracies on the test split.

None of them attends: each says what it learned of a position, or counts tokens.
"""

from collections.abc import Callable

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
    return _fixed_column(data, lambda tokens: (tokens, np.indices(tokens.shape)[1]))


def nth_new(data: Dataset) -> float:
    """The accuracy of saying, at each position, the n-th token that appears in the row.

    It is the n that the target most often had in train.
    """
    return _fixed_column(data, new_tokens)


def new_tokens(
    tokens: Integer[np.ndarray, "n T"],
) -> tuple[Integer[np.ndarray, "n T"], Int[np.ndarray, "n T"]]:
    """Each row without repetitions, then -1, and the place of each token, then T."""
    T = tokens.shape[1]
    order = np.argsort(tokens, axis=1, kind="stable")
    new = np.ones(tokens.shape, bool)
    again = np.diff(np.take_along_axis(tokens, order, axis=1), axis=1) == 0
    np.put_along_axis(new, order[:, 1:], ~again, axis=1)
    places = np.argsort(~new, axis=1, kind="stable")
    held = np.arange(T) < new.sum(axis=1, keepdims=True)
    found = np.take_along_axis(tokens, places, axis=1)
    return np.where(held, found, -1), np.where(held, places, T)


Columns = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _fixed_column(data: Dataset, columns: Columns) -> float:
    """The accuracy of one column for each position, chosen on train.

    `columns` gives tokens to say, [n, T], and the place where each is read.
    """
    train = {key: array[:LOOKED_AT] for key, array in data.splits["train"].items()}
    test = data.splits["test"]
    weights = train.get("weights", np.ones(train["targets"].shape))
    said, places = columns(train["tokens"])
    best = np.zeros(train["tokens"].shape[1], int)
    for position in np.unique(train["positions"]):
        row, slot = np.nonzero(train["positions"] == position)
        held = said[row, : position + 1] == train["targets"][row, slot, None]
        held &= places[row, : position + 1] <= position
        best[position] = (weights[row, slot] @ held).argmax()
    said, places = columns(test["tokens"])
    column = best[test["positions"]]
    read = np.take_along_axis(places, column, axis=1) <= test["positions"]
    return accuracy(np.where(read, np.take_along_axis(said, column, axis=1), -1), test)


def commonest(
    tokens: Integer[np.ndarray, "n T"], first: int, end: int
) -> Int[np.ndarray, "n 1"]:
    """Each row's commonest token among `first` .. `end` - 1; the smallest of several."""
    counts = [(tokens == token).sum(axis=1) for token in range(first, end)]
    return first + np.argmax(counts, axis=0)[:, None]


def last_read(rows: Rows) -> Integer[np.ndarray, "n P"]:
    """The token that is read where each target is said."""
    return np.take_along_axis(rows["tokens"], rows["positions"], axis=1)
