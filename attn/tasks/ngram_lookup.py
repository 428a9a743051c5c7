"""N-gram look-up: what follows a few letters in a string.

The rules are those of "Repeat After Me" (Jelassi et al. 2024, arXiv 2402.01032), read in
`sample_str` of `synthetic_exps/data_utils.py` in sjelassi/transformers_ssm_copy, with its
tasks `prefix_ngram` and `suffix_ngram`:

    prefix   $ r t u | k w r t u e b | e b      `num_answers` = 2 are said
    suffix   $ k w r t u e b | r t u e b

Departures: the n-gram comes once in its string (theirs may come again, and the first
counts), at any place that leaves room for the answer (theirs leaves out the last three);
strings of one length, one a row; "." after the answer is not said.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from attn.tasks.base import Dataset
from attn.tasks.synthetic import Synthetic, ask, letter, require
from attn.tasks.trivial import accuracy, commonest, fixed_place, majority


@dataclass(frozen=True)
class NgramLookup(Synthetic):
    """Say the letters that follow an n-gram in a string."""

    name = "ngram_lookup"

    seq_len: int = 64
    vocab_size: int = 28
    """Letters, the separator and the start, in this order."""
    n: int = 3
    """Letters that are looked up."""
    num_answers: int = 1
    """Letters that are said, P."""
    key: Literal["prefix", "suffix"] = "prefix"
    """Whether the n-gram stands before the string or after it."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "n", self.n >= 1, "it must be at least 1")
        require(self, "num_answers", self.num_answers >= 1, "it must be at least 1")
        require(self, "vocab_size", self.vocab_size >= 4, "it must be at least 4")
        known = self.key in ("prefix", "suffix")
        require(self, "key", known, "it must be 'prefix' or 'suffix'")
        least = self.seq_len - self.string_len + self.n + self.num_answers
        words = f"it must be at least {least}, for a string with n-gram and answer"
        require(self, "seq_len", self.seq_len >= least, words)

    @property
    def num_symbols(self) -> int:
        """The number of letters."""
        return self.vocab_size - 2

    @property
    def string_len(self) -> int:
        """Letters of the string."""
        special = 3 if self.key == "prefix" else 2
        return self.seq_len - special - self.n - (self.num_answers - 1)

    @property
    def num_scored(self) -> int:
        """The number of letters that are said."""
        return self.num_answers

    def label(self, token: int) -> str:
        """A letter, `|` for the separator, `$` for the start."""
        special = {self.num_symbols: "|", self.num_symbols + 1: "$"}
        return special.get(token) or letter(token)

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets and positions [n, P].

        Rows whose n-gram comes twice are left out.
        """
        S, room = self.string_len, self.n + self.num_answers
        strings = rng.integers(0, self.num_symbols, (count, S))
        place = rng.integers(0, S - room + 1, (count, 1))
        key = np.take_along_axis(strings, place + np.arange(self.n), axis=1)
        answer = np.take_along_axis(strings, place + np.arange(self.n, room), axis=1)
        bar, start = (np.full((count, 1), self.num_symbols + i) for i in (0, 1))
        if self.key == "prefix":
            text = np.hstack([start, key, bar, strings, bar, answer])
        else:
            text = np.hstack([start, strings, bar, key, answer])
        same = (sliding_window_view(strings, self.n, axis=1) == key[:, None]).all(-1)
        first = self.seq_len + 1 - self.num_answers
        at = first + np.arange(self.num_answers)[None]
        return ask(text[same.sum(axis=1) == 1], at)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact."""
        test = data.splits["test"]
        start = self.n + 2 if self.key == "prefix" else 1
        string = test["tokens"][:, start : start + self.string_len]
        return {
            "chance": 1 / self.num_symbols,
            "majority": majority(data),
            "commonest_in_string": accuracy(
                commonest(string, 0, self.num_symbols), test
            ),
            "fixed_place": fixed_place(data),
        }
