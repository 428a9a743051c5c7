"""Mano: arithmetic in prefix notation modulo a prime, worked out in the mind.

The rules are those of "Physics of Language Models: Part 4.1" (Allen-Zhu 2025, arXiv
2512.17351), read in `data-synthetic-pretrain/Mano/mano.py` of facebookresearch/PhysicsLM4
with `ttype = 'asm'`:

    tokens   + 7 * 3 20 =      the answer, 7 + 3 * 20 modulo 23, is one token
    target              21     scored there alone

An expression of l operators has l1 of them on the left, 0 .. l - 1 equally likely, and
the rest on the right. Train rows have 1 .. L operators, all numbers equally likely; valid
and test rows have L. The paper has L = 10, 13 and 16.

Departures: no mark of l before the expression, which tells its own end; one token for
each operator (theirs has two, of one meaning); no division.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Dataset
from attn.tasks.listops import table_accuracy
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import accuracy, majority

SIGNS = {"a": "+", "s": "-", "m": "*"}
MEANINGS = {"a": np.add, "s": np.subtract, "m": np.multiply}


@dataclass(frozen=True)
class Mano(Synthetic):
    """Say what an expression in prefix notation is worth."""

    name = "mano"

    seq_len: int = 22
    """Tokens of the longest expression and the mark, T = 2 L + 2."""
    modulus: int = 23
    operators: str = "asm"
    """Which of addition, subtraction and multiplication there are."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "seq_len", self.seq_len >= 4, "it must be at least 4")
        require(self, "modulus", self.modulus >= 2, "it must be at least 2")
        given = self.operators
        once = given and len(set(given)) == len(given) and set(given) <= set(SIGNS)
        words = "it must be some of a, s and m, each once"
        require(self, "operators", bool(once), words)

    @property
    def num_operators(self) -> int:
        """The operators of the longest expression, L."""
        return self.seq_len // 2 - 1

    @property
    def vocab_size(self) -> int:
        """The number of numbers, operators, the mark and the filler, in this order."""
        return self.modulus + len(self.operators) + 2

    @property
    def num_scored(self) -> int:
        """The number of answers, 1."""
        return 1

    def label(self, token: int) -> str:
        """A number, the sign of an operator, `=`, or `_` for the filler."""
        signs = [*(SIGNS[operator] for operator in self.operators), "=", "_"]
        return str(token) if token < self.modulus else signs[token - self.modulus]

    def draw(self, rng, count, split):
        """Draws tokens [n, T], targets and positions [n, 1]."""
        least = 1 if split == "train" else self.num_operators
        sizes = rng.integers(least, self.num_operators + 1, count)
        text = self._expressions(rng, sizes)
        values = self._worth(text)
        mark = 2 * sizes[:, None] + 1
        np.put_along_axis(text, mark, self.vocab_size - 2, axis=1)
        np.put_along_axis(text, mark + 1, values[:, None], axis=1)
        return ask(text, mark + 1)

    def _expressions(
        self, rng: np.random.Generator, sizes: Int[np.ndarray, " n"]
    ) -> Int[np.ndarray, "n S"]:
        """Draws expressions of so many operators, filler after them.

        Each row has a stack of the sizes of what is still to be written.
        """
        n, row = len(sizes), np.arange(len(sizes))
        text = np.full((n, self.seq_len + 1), self.vocab_size - 1)
        stack = np.zeros((n, self.num_operators + 2), np.int64)
        stack[:, 1], depth = sizes, np.ones(n, np.int64)
        for c in range(2 * self.num_operators + 1):
            size, written = stack[row, depth], depth > 0
            opens = written & (size > 0)
            number = rng.integers(0, self.modulus, n)
            sign = self.modulus + rng.integers(0, len(self.operators), n)
            left = rng.integers(0, np.maximum(size, 1))
            text[written, c] = np.where(opens, sign, number)[written]
            stack[row[opens], depth[opens]] = (size - 1 - left)[opens]
            depth = depth + np.where(opens, 1, 0 - written)
            stack[row[opens], depth[opens]] = left[opens]
        return text

    def _worth(self, text: Int[np.ndarray, "n S"]) -> Int[np.ndarray, " n"]:
        """The values of expressions, from their ends to their beginnings."""
        row, depth = np.arange(len(text)), np.zeros(len(text), np.int64)
        stack = np.zeros((len(text), self.num_operators + 3), np.int64)
        for tokens in text.T[2 * self.num_operators :: -1]:
            first, second = stack[row, depth], stack[row, depth - 1]
            value, sign = tokens, tokens - self.modulus
            for i, operator in enumerate(self.operators):
                result = MEANINGS[operator](first, second) % self.modulus
                value = np.where(sign == i, result, value)
            depth = depth + np.where(sign < 0, 1, -1)
            depth = np.where(sign >= len(self.operators), 0, depth)  # filler
            stack[row, depth] = value
        return stack[row, 1]

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact.

        `root` is a table of the first operator, filled on the train split.
        """
        train, test = data.splits["train"], data.splits["test"]
        last = np.take_along_axis(test["tokens"], test["positions"] - 1, axis=1)
        return {
            "chance": 1 / self.modulus,
            "majority": majority(data),
            "root": table_accuracy(
                train["tokens"][:, :1],
                train["targets"],
                test["tokens"][:, :1],
                test["targets"],
            ),
            "last_number": accuracy(last, test),
        }
