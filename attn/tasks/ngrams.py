"""Bits per byte of n-gram models and of general compressors.

The n-gram is interpolated by Witten and Bell's rule (1991), from order 6 down to the
uniform 1/256: with c the count of a context, t its different successors,

    p(x | h) = (count(h x) + t(h) p(x | shorter h)) / (c(h) + t(h))

so that it is a probability, sums to one and is never zero.
"""

import gzip
import lzma

import numpy as np
from jaxtyping import UInt8

from attn.tasks.base import Rows

LONGEST = 6
"""Bytes of the longest n-gram, the predicted one included; its code fits in 64 bits."""


def ngram_bits(train: UInt8[np.ndarray, " bytes"], rows: Rows) -> dict[int, float]:
    """Mean bits of the rows' targets under n-grams of order 1 (unigram) to 6.

    `train` is uint8 [bytes]. A row's context is the row: at its first target one byte.
    """
    seen = np.concatenate([rows["tokens"][:, :1], rows["targets"]], axis=1)
    prob = np.full(rows["targets"].shape, 1 / 256)
    bits = {}
    for order in range(1, min(LONGEST, len(train), seen.shape[1]) + 1):
        prob[:, max(order - 2, 0) :] = _interpolate(train, seen, order, prob)
        bits[order] = float(-np.log2(prob).mean())
    return bits


def _interpolate(
    train: np.ndarray, seen: np.ndarray, order: int, shorter: np.ndarray
) -> np.ndarray:
    """The probabilities of order `order` wherever a row has enough context."""
    grams, gram_counts = np.unique(_codes(train, order), return_counts=True)
    contexts, starts = np.unique(grams >> 8, return_index=True)
    successors = np.diff(starts, append=len(grams))
    totals = np.add.reduceat(gram_counts, starts)

    skip = max(order - 2, 0)
    asked = _codes(seen, order)[:, 1 if order == 1 else 0 :]
    count = _look_up(grams, gram_counts, asked)
    total = _look_up(contexts, totals, asked >> 8)
    kinds = _look_up(contexts, successors, asked >> 8)
    shorter = shorter[:, skip:]
    mixed = (count + kinds * shorter) / np.maximum(total + kinds, 1)
    return np.where(total > 0, mixed, shorter)


def _codes(text: np.ndarray, order: int) -> np.ndarray:
    """Encodes every run of `order` bytes along the last axis as one integer."""
    count = text.shape[-1] - order + 1
    codes = np.zeros((*text.shape[:-1], count), np.int64)
    for k in range(order):
        codes = codes << 8 | text[..., k : k + count]
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
