"""The rows of pair tasks as arrays: padding, and scores of written targets."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from jaxtyping import Bool, Int

from attn.tasks.base import Rows


def padded(sequences: Sequence[Sequence[int]], width: int) -> Int[np.ndarray, "n T"]:
    """Sequences of at most `width` integers as the rows of an array, 0 behind them."""
    lengths = np.array([*map(len, sequences)])
    rows = np.zeros((len(sequences), width), np.int64)
    flat = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
    rows[np.arange(width) < lengths[:, None]] = flat
    return rows


def real(rows: Rows) -> Bool[np.ndarray, "n T"]:
    """Whether each target is one, and no padding."""
    return np.arange(rows["targets"].shape[1]) < rows["lengths"][:, None]


def sources(rows: Rows) -> list[list[int]]:
    """The sources of rows without their padding."""
    return [s[:n].tolist() for s, n in zip(rows["source"], rows["source_lengths"])]


def commonest_targets(train: Rows, vocab_size: int) -> Int[np.ndarray, "1 T"]:
    """The commonest target of each position."""
    at, where = real(train), np.indices(train["targets"].shape)[1]
    counts = np.zeros((at.shape[1], vocab_size), int)
    np.add.at(counts, (where[at], train["targets"][at]), 1)
    return counts.argmax(axis=1)[None]


def scores(said: Int[np.ndarray, "#n T"], rows: Rows) -> dict[str, float]:
    """The share of targets that are right, and of rows with no wrong one."""
    at, right = real(rows), said == rows["targets"]
    return {
        "accuracy": float(right[at].mean()),
        "exact_match": float((right | ~at).all(axis=1).mean()),
    }
