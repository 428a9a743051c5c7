"""Bits per token of n-gram models, and bits per byte of general compressors.

The n-gram is interpolated by Witten and Bell's rule (1991), from order 6 down to the
uniform 1/V: with c the count of a context, t its different successors,

    p(x | h) = (count(h x) + t(h) p(x | shorter h)) / (c(h) + t(h))

so that it is a probability, sums to one and is never zero.
"""

import gzip
import lzma

import numpy as np
from jaxtyping import Integer

from attn.tasks.base import Rows

LONGEST = 6
"""Tokens of the longest n-gram, the predicted one included."""
CODE_BITS = 62
"""Bits of the code of an n-gram; large vocabularies have shorter ones."""


def ngram_bits(
    train: Integer[np.ndarray, " tokens"], rows: Rows, vocab_size: int = 256
) -> dict[int, float]:
    """Mean bits of the rows' targets under n-grams of order 1 (unigram) to 6.

    A row's context is the row: at its first target one token. Targets weigh as the rows'
    `weights` say.
    """
    bits_each = max(1, (vocab_size - 1).bit_length())
    longest = min(LONGEST, CODE_BITS // bits_each, len(train))
    seen = np.concatenate([rows["tokens"][:, :1], rows["targets"]], axis=1)
    prob = np.full(rows["targets"].shape, 1 / vocab_size)
    bits = {}
    for order in range(1, min(longest, seen.shape[1]) + 1):
        mixed = _interpolate(train, seen, order, prob, bits_each)
        prob[:, max(order - 2, 0) :] = mixed
        bits[order] = float(np.average(-np.log2(prob), weights=rows.get("weights")))
    return bits


def _interpolate(
    train: np.ndarray, seen: np.ndarray, order: int, shorter: np.ndarray, bits: int
) -> np.ndarray:
    """The probabilities of order `order` wherever a row has enough context."""
    grams, gram_counts = np.unique(_codes(train, order, bits), return_counts=True)
    contexts, starts = np.unique(grams >> bits, return_index=True)
    successors = np.diff(starts, append=len(grams))
    totals = np.add.reduceat(gram_counts, starts)

    skip = max(order - 2, 0)
    asked = _codes(seen, order, bits)[:, 1 if order == 1 else 0 :]
    count = _look_up(grams, gram_counts, asked)
    total = _look_up(contexts, totals, asked >> bits)
    kinds = _look_up(contexts, successors, asked >> bits)
    shorter = shorter[:, skip:]
    mixed = (count + kinds * shorter) / np.maximum(total + kinds, 1)
    return np.where(total > 0, mixed, shorter)


def _codes(text: np.ndarray, order: int, bits: int) -> np.ndarray:
    """Encodes every run of `order` tokens along the last axis as one integer."""
    count = text.shape[-1] - order + 1
    codes = np.zeros((*text.shape[:-1], count), np.int64)
    for k in range(order):
        codes = codes << bits | text[..., k : k + count]
    return codes


def _look_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Looks up each key; 0 where it is not among the sorted `keys`."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)


def compressed_bits(train: bytes, text: bytes) -> dict[str, float]:
    """Bits per byte of gzip and xz on the text, and of xz on it after `train`."""

    def xz(data: bytes) -> int:
        return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))

    return {
        "gzip_alone": 8 * len(gzip.compress(text, 9, mtime=0)) / len(text),
        "xz_alone": 8 * xz(text) / len(text),
        "xz_after_train": 8 * (xz(train + text) - xz(train)) / len(text),
    }
