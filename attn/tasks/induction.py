"""Induction heads: what came after the trigger, when the trigger comes again.

The rules are those of H3 (Fu et al. 2023, arXiv 2212.14052, table 2), read in
`src/dataloaders/synthetics.py` of HazyResearch/safari with one trigger:

    tokens   7 3 > 5 1 7 0 5 2 >      random symbols, > at a random place and at the end
    target                     5      scored at the end alone

Mamba's version (Gu and Dao 2023, arXiv 2312.00752, table 11) is
`Induction(seq_len=256, vocab_size=16)`, tested at other lengths.

Departures: the trigger is the only special token (safari's vocabulary also counts ".",
which never comes); only the answer is trained on, not the random symbols before it.
"""

from dataclasses import dataclass

import numpy as np

from attn.tasks.base import Dataset
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import accuracy, commonest, fixed_place, majority


@dataclass(frozen=True)
class Induction(Synthetic):
    """Say the token that came after the trigger."""

    name = "induction"

    seq_len: int = 31
    """Tokens with both triggers, T (safari's `input_seq_len` is T - 1)."""
    vocab_size: int = 20
    """Symbols and, as the last token, the trigger."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "seq_len", self.seq_len >= 4, "it must be at least 4")
        require(self, "vocab_size", self.vocab_size >= 3, "it must be at least 3")

    @property
    def trigger(self) -> int:
        """The special token."""
        return self.vocab_size - 1

    @property
    def num_scored(self) -> int:
        """The number of answers, 1."""
        return 1

    def label(self, token: int) -> str:
        """The number of a symbol, or `>` for the trigger."""
        return ">" if token == self.trigger else str(token)

    def draw(self, rng, count, split):
        """Draws tokens [n, T], targets and positions [n, 1].

        As in safari the answer is never the token before the last trigger.
        """
        text = rng.integers(0, self.trigger, (count, self.seq_len + 1))
        row, first = np.arange(count), rng.integers(0, self.seq_len - 3, count)
        text[row, first] = text[:, -2] = self.trigger
        text[:, -1] = text[row, first + 1]
        return ask(text, np.array([[self.seq_len]]))

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact."""
        test = data.splits["test"]
        return {
            "chance": 1 / self.trigger,
            "majority": majority(data),
            "commonest_in_row": accuracy(
                commonest(test["tokens"], 0, self.trigger), test
            ),
            "fixed_place": fixed_place(data),
        }
