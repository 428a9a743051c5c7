"""Shallow comparisons of the two documents of a row, as accuracies on the test split.

None of them attends. Both learn on the first rows of train: how much each token's count
may differ, or how alike the n-grams of two documents must be to match.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Integer

from attn.tasks.base import Dataset, Rows

LOOKED_AT = 4096
"""Rows of a split that are looked at."""
AT_ONCE = 128
BUCKETS = 2**13
"""Different n-grams that are told apart, by a hash."""
NGRAM = 4
RIDGE = 1e-2


def bag_of_tokens(data: Dataset, vocab_size: int) -> float:
    """The accuracy of a logistic regression on how much each token's share differs."""
    (x, y), (x_test, y_test) = (
        (_differences(rows, vocab_size), rows["targets"][:LOOKED_AT, 0])
        for rows in (data.splits["train"], data.splits["test"])
    )
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    weights = _logistic(_with_one((x - mean) / scale), y)
    said = _with_one((x_test - mean) / scale) @ weights > 0
    return float(np.mean(said == y_test))


def ngrams_in_common(data: Dataset) -> float:
    """The accuracy of the cosine of two documents' weighted n-gram counts.

    Each n-gram weighs log(documents / documents that have it). Documents match above the
    cosine that tells most of train right.
    """
    train, test = data.splits["train"], data.splits["test"]
    having = np.ones(BUCKETS)
    for counts in _ngrams(train):
        having += (counts > 0).sum(axis=(0, 1))
    documents = 2 * min(LOOKED_AT, len(train["tokens"]))
    rarity = np.log((1 + documents) / having).astype(np.float32)
    alike, alike_test = (_cosines(rows, rarity) for rows in (train, test))
    least = _best_threshold(alike, train["targets"][:LOOKED_AT, 0])
    return float(np.mean((alike_test >= least) == test["targets"][:LOOKED_AT, 0]))


def _documents(rows: Rows) -> Iterator[Int[np.ndarray, "n 2 S"]]:
    """Yields the documents of some rows at a time."""
    for start in range(0, min(LOOKED_AT, len(rows["tokens"])), AT_ONCE):
        tokens = rows["tokens"][start : min(start + AT_ONCE, LOOKED_AT)]
        yield np.asarray(tokens, np.int64).reshape(len(tokens), 2, -1)


def _counts(codes: Int[np.ndarray, "n 2 S"], V: int) -> Float[np.ndarray, "n 2 V"]:
    """Counts each of V integers in each document."""
    n = len(codes)
    own = np.arange(2 * n).reshape(n, 2, 1) * V
    counts = np.bincount((codes + own).ravel(), minlength=2 * n * V)
    return counts.reshape(n, 2, V).astype(np.float32)


def _differences(rows: Rows, V: int) -> Float[np.ndarray, "n V"]:
    """The difference of each token's share of two documents, whichever has more."""
    counts = np.concatenate([_counts(tokens, V) for tokens in _documents(rows)])
    return np.abs(counts[:, 0] - counts[:, 1]) / counts[0, 0].sum()


def _ngrams(rows: Rows) -> Iterator[Float[np.ndarray, "n 2 buckets"]]:
    """Yields the counts of hashed n-grams of some documents at a time."""
    for tokens in _documents(rows):
        S = tokens.shape[-1] - NGRAM + 1
        codes = np.zeros_like(tokens[..., :S])
        for i in range(NGRAM):
            codes = codes * 0x9E3779B1 + tokens[..., i : i + S] + 1
        mixed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        yield _counts((mixed >> np.uint64(51)).astype(np.int64), BUCKETS)


def _cosines(
    rows: Rows, rarity: Float[np.ndarray, " buckets"]
) -> Float[np.ndarray, " n"]:
    """The cosine of the two documents of each row."""
    found = []
    for counts in _ngrams(rows):
        weighted = np.log1p(counts) * rarity
        norms = np.linalg.norm(weighted, axis=-1).prod(axis=1)
        found.append((weighted[:, 0] * weighted[:, 1]).sum(axis=-1) / (norms + 1e-9))
    return np.concatenate(found)


def _best_threshold(
    scores: Float[np.ndarray, " n"], matching: Integer[np.ndarray, " n"]
) -> float:
    """The score from which on "match" is said, where that is right most often."""
    order = np.argsort(scores, kind="stable")
    lower_right = np.cumsum(1 - matching[order].astype(int))
    rest_right = matching.sum() - np.cumsum(matching[order].astype(int))
    return float(scores[order][min((lower_right + rest_right).argmax() + 1, len(order) - 1)])  # fmt: skip


def _logistic(
    x: Float[np.ndarray, "n F"], y: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, " F"]:
    """The weights of a logistic regression with a ridge, by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(10):
        said = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (said - y) / len(y) + RIDGE * weights
        curve = (x.T * (said * (1 - said))) @ x / len(y) + RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def _with_one(x: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n G"]:
    """The features, and a constant."""
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)
