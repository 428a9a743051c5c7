"""The nearest training source of each test source, by the n-grams that they share."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NGRAM = 4
BITS = 18
"""Bits of the hash that tells n-grams apart."""
AT_ONCE = 256


def nearest(train: Rows, test: Rows) -> Int[np.ndarray, " n"]:
    """Finds the train row whose source is nearest to that of each test row.

    Sources are counts of n-grams, each weighted by log(rows / rows that have it), and
    compared by their cosine; of several, the first.
    """
    counts, asked = _counts(train), _counts(test)
    having = 1 + np.bincount(counts.indices, minlength=2**BITS)
    rarity = np.log((1 + len(train["source"])) / having)
    counts, asked = _normalized(counts, rarity), _normalized(asked, rarity)
    found = [
        (asked[start : start + AT_ONCE] @ counts.T).toarray().argmax(axis=1)
        for start in range(0, len(test["source"]), AT_ONCE)
    ]
    return np.concatenate(found)


def _counts(rows: Rows) -> "csr_array":
    """The counts of hashed n-grams of each source; padding is in none."""
    from scipy.sparse import csr_array

    tokens = np.asarray(rows["source"], np.uint64)
    S = tokens.shape[1] - NGRAM + 1
    codes = np.zeros((len(tokens), max(S, 0)), np.uint64)
    for i in range(NGRAM):
        codes = codes * np.uint64(0x9E3779B1) + tokens[:, i : i + S] + np.uint64(1)
    codes = (codes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - BITS)
    real = np.arange(codes.shape[1]) <= rows["source_lengths"][:, None] - NGRAM
    at = (np.nonzero(real)[0], codes[real].astype(np.int64))
    return csr_array((np.ones(len(at[0])), at), shape=(len(tokens), 2**BITS))


def _normalized(counts: "csr_array", rarity: np.ndarray) -> "csr_array":
    """The counts, each weighted, as vectors of length 1."""
    weighted = counts.multiply(rarity[None]).tocsr()
    norms = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    return weighted.multiply(1 / np.maximum(norms, 1e-9)[:, None]).tocsr()
