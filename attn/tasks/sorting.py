"""Sorting: a list of numbers, and then the same in ascending order.

The rules are those of Tensor2Tensor (Vaswani et al. 2018), read in
`AlgorithmicSortProblem` of `data_generators/algorithmic.py` in tensorflow/tensor2tensor:
the length is drawn, then each number, with repeats unless `unique`:

    tokens   4 1 9 1 | 1 1 4 *  *      lists of several lengths, * after them
    targets          1 1 4 9           scored from the separator on

Departures: a decoder reads list and answer as one sequence, as in minGPT's demo of
sorting, where Tensor2Tensor has an encoder and a decoder; no end mark; Tensor2Tensor
tests on lists twice as long, which here is another `seq_len` of the same vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from attn.tasks.base import Dataset
from attn.tasks.mqar import distinct
from attn.tasks.synthetic import Synthetic, answer_after, require
from attn.tasks.trivial import accuracy, fixed_place, last_read, majority


@dataclass(frozen=True)
class Sort(Synthetic):
    """Say the numbers of a list in ascending order."""

    name = "sort"

    seq_len: int = 20
    """Tokens, T; the longest list has half of them, rounded down."""
    vocab_size: int = 22
    """Numbers from 0 on, the separator and the filler, in this order."""
    min_tokens: int = 1
    """Length of the shortest list; all lengths are equally likely."""
    unique: bool = False
    """Whether no number comes twice in a list."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "seq_len", self.seq_len >= 2, "it must be at least 2")
        least = 2 + (self.num_scored if self.unique else 2)
        words = f"it must be at least {least}: the numbers of a list, and two more"
        require(self, "vocab_size", self.vocab_size >= least, words)
        words = f"it must be 1 .. {self.num_scored}, half of seq_len = {self.seq_len}"
        require(self, "min_tokens", 1 <= self.min_tokens <= self.num_scored, words)

    @property
    def num_scored(self) -> int:
        """The length of the longest list; shorter ones weigh 0 beyond their end."""
        return self.seq_len // 2

    @property
    def num_symbols(self) -> int:
        """The number of numbers."""
        return self.vocab_size - 2

    def label(self, token: int) -> str:
        """A number, `|` for the separator, `*` for the filler."""
        special = {self.num_symbols: "|", self.num_symbols + 1: "*"}
        return special.get(token, str(token))

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets, positions and weights [n, P]."""
        N = self.num_scored
        lengths = rng.integers(self.min_tokens, N + 1, (count, 1))
        if self.unique:
            numbers = distinct(rng, count, N, self.num_symbols)
        else:
            numbers = rng.integers(0, self.num_symbols, (count, N))
        real = np.arange(N) < lengths
        answers = np.sort(np.where(real, numbers, self.num_symbols), axis=1)
        special = self.num_symbols, self.num_symbols + 1
        return answer_after(numbers, answers, real, special, self.seq_len)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact.

        `last_token` says the number that it said before once more.
        """
        test = data.splits["test"]
        return {
            "chance": 1 / self.num_symbols,
            "majority": majority(data),
            "last_token": accuracy(last_read(test), test),
            "fixed_place": fixed_place(data),
        }
