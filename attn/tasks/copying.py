"""Copying: a string again after it ended, or the symbols that stood among blanks.

`copy` has the rules of "Repeat After Me" (Jelassi et al. 2024, arXiv 2402.01032), read
in `synthetic_exps/data_utils.py` of sjelassi/transformers_ssm_copy, which are those of
Katharopoulos et al. 2020 (figure 2; `causal-copy/main.py` of
idiap/linear-transformer-experiments) with other lengths:

    tokens   q f a | q f *  *  *      strings of several lengths, * after them
    targets        q f a              scored from the separator on

`Copy(seq_len=128, vocab_size=12, min_tokens=32)` is Katharopoulos's, but for strings of
63 and 64 tokens, which theirs leave out, and for the separator, which theirs also fill
with. Departures: one string a row, where the former packs several; neither "$" before
the string nor "." after the answer; the separator is not said.

`selective_copy` is Mamba's (Gu and Dao 2023, arXiv 2312.00752, table 1) in the form of
MAD (Poli et al. 2024, arXiv 2403.17844; `mad/data/instances.py` of athms/mad-lab):

    tokens   - 3 - - 7 3 - > - - -      symbols at random places, >, blanks
    targets                  3 7 3      scored at the blanks after >

Departure: all places are equally likely, as in `torch_copying_data` of state-spaces/s4;
MAD puts no blank after the last symbol, and draws its blanks without its seed.
"""

from dataclasses import dataclass

import numpy as np

from attn.tasks.base import Dataset
from attn.tasks.strings import StringTask
from attn.tasks.synthetic import Synthetic, letter, require
from attn.tasks.trivial import accuracy, commonest, fixed_place, majority


@dataclass(frozen=True)
class Copy(StringTask):
    """Say a string again."""

    name = "copy"

    seq_len: int = 40
    """Tokens, T; the longest string has half of them, rounded down."""
    min_tokens: int = 5

    def symbol(self, token: int) -> str:
        """The letter of a symbol."""
        return letter(token)

    def answers(self, strings, real):
        """The strings themselves."""
        return strings

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact."""
        return {
            "chance": 1 / self.num_symbols,
            "majority": majority(data),
            "fixed_place": fixed_place(data),
        }


@dataclass(frozen=True)
class SelectiveCopy(Synthetic):
    """Say the symbols that stood among blanks, in order."""

    name = "selective_copy"

    seq_len: int = 256
    vocab_size: int = 16
    """Symbols, the blank and the mark that asks for them, in this order."""
    num_tokens: int = 16
    """Symbols of a row, P."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "vocab_size", self.vocab_size >= 3, "it must be at least 3")
        most = (self.seq_len - 1) // 2
        words = f"it must be 1 .. {most} for seq_len = {self.seq_len}"
        require(self, "num_tokens", 1 <= self.num_tokens <= most, words)

    @property
    def num_scored(self) -> int:
        """The number of symbols of a row."""
        return self.num_tokens

    def label(self, token: int) -> str:
        """The number of a symbol, `-` for the blank, `>` for the mark."""
        return {self.vocab_size - 2: "-", self.vocab_size - 1: ">"}.get(
            token, str(token)
        )

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets and positions [n, P]."""
        P, mark = self.num_tokens, self.seq_len - self.num_tokens - 1
        symbols = rng.integers(0, self.vocab_size - 2, (count, P))
        places = np.argpartition(rng.random((count, mark)), P - 1, axis=1)[:, :P]
        tokens = np.full((count, self.seq_len), self.vocab_size - 2)
        np.put_along_axis(tokens, np.sort(places, axis=1), symbols, axis=1)
        tokens[:, mark] = self.vocab_size - 1
        positions = np.broadcast_to(mark + 1 + np.arange(P), symbols.shape)
        return {"tokens": tokens, "targets": symbols, "positions": positions}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact."""
        test, symbols = data.splits["test"], self.vocab_size - 2
        return {
            "chance": 1 / symbols,
            "majority": majority(data),
            "commonest_in_row": accuracy(commonest(test["tokens"], 0, symbols), test),
        }
