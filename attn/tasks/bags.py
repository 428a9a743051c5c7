"""Baselines of padded rows with one label: what tokens and lengths alone tell of it."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from attn.tasks.base import Dataset, Rows

CHUNK_ROWS = 2**12
"""Rows that baselines hold in memory at once."""
BINS = 32
"""Ranges of lengths, with as many train rows in each."""


def baselines(data: Dataset, classes: int, vocab_size: int) -> dict[str, float]:
    """Computes test accuracies; `bag_of_tokens` is multinomial naive Bayes."""
    train, test = data.splits["train"], data.splits["test"]
    target, truth = train["targets"][:, 0], test["targets"][:, 0]
    likeliest = naive_bayes(train, test, classes, vocab_size)
    return {
        "chance": 1 / classes,
        "majority": float(np.mean(truth == np.bincount(target).argmax())),
        "bag_of_tokens": float(np.mean(truth == likeliest)),
    }


def naive_bayes(
    train: Rows, test: Rows, classes: int, vocab_size: int
) -> Int[np.ndarray, " n"]:
    """The likeliest class of each test row, where its tokens are drawn one by one."""
    prior = np.bincount(train["targets"][:, 0], minlength=classes)
    logs = np.log(prior + 1.0)[:, None], _log_counts(train, classes, vocab_size)
    return np.concatenate([_likeliest(*logs, part) for part in _chunks(test)])


def by_length(data: Dataset, classes: int) -> float:
    """The test accuracy of the commonest train label of each range of lengths."""
    train, test = data.splits["train"], data.splits["test"]
    edges = np.quantile(train["lengths"], np.arange(1, BINS) / BINS)
    counts = np.zeros((BINS, classes), int)
    np.add.at(counts, (_bins(train, edges), train["targets"][:, 0]), 1)
    guess = counts.argmax(axis=1)[_bins(test, edges)]
    return float(np.mean(guess == test["targets"][:, 0]))


def _bins(rows: Rows, edges: np.ndarray) -> Int[np.ndarray, " n"]:
    return np.searchsorted(edges, rows["lengths"], side="right")


def _log_counts(rows: Rows, classes: int, vocab_size: int) -> np.ndarray:
    """The logarithm of each token's share in each class, one of each added."""
    counts = np.ones(classes * vocab_size)
    for part in _chunks(rows):
        pairs = part["targets"].astype(int) * vocab_size + part["tokens"]
        counts += np.bincount(pairs[_seen(part)], minlength=len(counts))
    counts = counts.reshape(classes, vocab_size)
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def _likeliest(prior: np.ndarray, logs: np.ndarray, rows: Rows) -> np.ndarray:
    """The class of each row whose logarithms add up to most."""
    seen, tokens = _seen(rows), rows["tokens"]
    scores = prior + np.stack([(own[tokens] * seen).sum(axis=1) for own in logs])
    return np.argmax(scores, axis=0)


def _chunks(rows: Rows) -> Iterator[Rows]:
    """Yields some rows at a time, as arrays in memory."""
    for start in range(0, len(rows["tokens"]), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        yield {key: np.asarray(array[part]) for key, array in rows.items()}


def _seen(rows: Rows) -> Bool[np.ndarray, "n T"]:
    """A mask of the tokens that are no padding, of each document of a row."""
    n, T = rows["tokens"].shape
    lengths = rows["lengths"].reshape(n, -1)
    return (np.arange(T // lengths.shape[1]) < lengths[..., None]).reshape(n, T)
