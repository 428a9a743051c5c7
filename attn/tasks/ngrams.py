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


def between_bits(
    train: Integer[np.ndarray, " tokens"], rows: Rows, vocab_size: int
) -> dict[int, float]:
    """Mean bits of hidden targets under n-grams of their neighbours on both sides.

    Of order 1 to 5: order 2 sees the token before, 3 also that behind, 4 and 5 one more
    of each. Neighbours are as the rows show them, hidden ones too: from such a one on, a
    longer context says no more.
    """
    bits_each = vocab_size.bit_length()  # one code is for what is beyond the row
    train, shown = (
        np.pad(x, [(0, 0)] * (x.ndim - 1) + [(2, 2)], constant_values=vocab_size)
        for x in (train.astype(np.int64), rows["tokens"].astype(np.int64))
    )
    here = np.arange(2, len(train) - 2)
    at = rows["positions"].astype(np.int64) + 2
    prob = np.full(rows["targets"].shape, 1 / vocab_size)
    bits = {}
    seen, asked = train[here], rows["targets"].astype(np.int64)
    for order, step in enumerate((0, -1, 1, -2, 2), start=1):
        if step:
            shift = bits_each * (order - 1)
            seen = train[here + step] << shift | seen
            asked = np.take_along_axis(shown, at + step, axis=1) << shift | asked
        prob = _mixed(seen, asked, prob, bits_each)
        bits[order] = float(-np.log2(prob).mean())
    return bits


def _interpolate(
    train: np.ndarray, seen: np.ndarray, order: int, shorter: np.ndarray, bits: int
) -> np.ndarray:
    """The probabilities of order `order` wherever a row has enough context."""
    asked = _codes(seen, order, bits)[:, 1 if order == 1 else 0 :]
    shorter = shorter[:, max(order - 2, 0) :]
    return _mixed(_codes(train, order, bits), asked, shorter, bits)


def _mixed(
    train: np.ndarray, asked: np.ndarray, shorter: np.ndarray, bits: int
) -> np.ndarray:
    """The probabilities of n-grams, given those of a shorter context."""
    grams, gram_counts = np.unique(train, return_counts=True)
    contexts, starts = np.unique(grams >> bits, return_index=True)
    successors = np.diff(starts, append=len(grams))
    totals = np.add.reduceat(gram_counts, starts)

    count = _look_up(grams, gram_counts, asked)
    total = _look_up(contexts, totals, asked >> bits)
    kinds = _look_up(contexts, successors, asked >> bits)
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
