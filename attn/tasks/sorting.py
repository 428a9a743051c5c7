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
from attn.tasks.strings import StringTask
from attn.tasks.synthetic import require
from attn.tasks.trivial import accuracy, fixed_place, last_read, majority


@dataclass(frozen=True)
class Sort(StringTask):
    """Say the numbers of a list in ascending order."""

    name = "sort"

    seq_len: int = 20
    """Tokens, T; the longest list has half of them, rounded down."""
    vocab_size: int = 22
    """Numbers from 0 on, the separator and the filler, in this order."""
    unique: bool = False
    """Whether no number comes twice in a list."""

    def __post_init__(self):
        super().__post_init__()
        least = 2 + (self.num_scored if self.unique else 2)
        words = f"it must be at least {least}: the numbers of a list, and two more"
        require(self, "vocab_size", self.vocab_size >= least, words)

    def strings(self, rng, count):
        """Draws numbers, of which none comes twice in a list if `unique`."""
        if self.unique:
            return distinct(rng, count, self.num_scored, self.num_symbols)
        return super().strings(rng, count)

    def answers(self, strings, real):
        """The numbers in ascending order."""
        return np.sort(np.where(real, strings, self.num_symbols), axis=1)

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
