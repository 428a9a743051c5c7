"""Linear classifiers of features, in NumPy: what a task gives away to a weighted sum."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Integer

from attn.tasks.base import Dataset

EPOCHS, RATE, MOMENTUM = 10, 0.01, 0.9
BATCH = 32
"""Rows of a step: so few that BLAS keeps to one thread, since several wait for each other."""
MOST = 2**28
"""Values of a split that are looked at: 1 GiB as features."""


def with_bias(values: Integer[np.ndarray, "n F"]) -> Float[np.ndarray, "n F+1"]:
    """Bytes as features between 0 and 1, and a feature that is 1 always."""
    scaled = np.asarray(values, np.float32) / 255
    return np.hstack([scaled, np.ones((len(scaled), 1), np.float32)])


def class_means(
    x: Float[np.ndarray, "n F"], y: Integer[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, "F classes"]:
    """The weights by which the nearest mean of a class scores highest."""
    means = np.stack([x[y == label].mean(axis=0) for label in range(classes)], axis=1)
    means[-1] = -0.5 * (means[:-1] ** 2).sum(axis=0)
    return means


def softmax_regression(
    x: Float[np.ndarray, "n F"], y: Integer[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, "F classes"]:
    """The weights of a multinomial logistic regression, by descent on batches.

    The rate falls to zero; the order of the batches is fixed.
    """
    rng = np.random.default_rng(0)
    weights = np.zeros((x.shape[1], classes), np.float32)
    velocity, labels = np.zeros_like(weights), np.eye(classes, dtype=np.float32)
    parts = -(-len(x) // BATCH)
    for step in range(steps := EPOCHS * parts):
        if step % parts == 0:
            batches = np.array_split(rng.permutation(len(x)), parts)
        rows = batches[step % parts]
        part = x[rows]
        slope = part.T @ (_softmax(part @ weights) - labels[y[rows]])
        rate = RATE * (1 - step / steps)
        velocity = MOMENTUM * velocity - rate * slope / len(rows)
        weights += velocity
    return weights


def accuracy(
    weights: Float[np.ndarray, "F classes"],
    x: Float[np.ndarray, "n F"],
    y: Integer[np.ndarray, " n"],
) -> float:
    """The share of rows whose own class scores highest."""
    return float(np.mean((x @ weights).argmax(axis=1) == y))


Fit = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def fitted(fit: Fit, data: Dataset, classes: int) -> float:
    """The test accuracy of the weights that `fit` makes of the train split."""
    (x, y), (x_test, y_test) = (_features(data, split) for split in ("train", "test"))
    return accuracy(fit(x, y, classes), x_test, y_test)


def _features(data: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The features and the labels of a split's first rows."""
    rows = data.splits[split]
    part = slice(max(1, MOST // rows["tokens"].shape[1]))
    return with_bias(rows["tokens"][part]), np.asarray(rows["targets"][part])[:, 0]


def _softmax(scores: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
