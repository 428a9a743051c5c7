"""The base of tasks that read a string, and then say one that is as long.

    tokens   q f a | q f *  *  *      strings of several lengths, then filler
    targets        q f a              scored from the separator on: here a copy

What is said is read before the next is said. Shorter answers weigh 0 beyond their end.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from attn.tasks.synthetic import Synthetic, ask, require


@dataclass(frozen=True)
class StringTask(Synthetic):
    """The base of tasks with a string and its answer; subclasses give the answer."""

    vocab_size: int = 28
    """Symbols, the separator and the filler, in this order."""
    min_tokens: int = 1
    """Length of the shortest string; all lengths are equally likely."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "seq_len", self.seq_len >= 2, "it must be at least 2")
        require(self, "vocab_size", self.vocab_size >= 4, "it must be at least 4")
        words = f"it must be 1 .. {self.num_scored}, half of seq_len = {self.seq_len}"
        require(self, "min_tokens", 1 <= self.min_tokens <= self.num_scored, words)

    @property
    def num_scored(self) -> int:
        """The length of the longest string."""
        return self.seq_len // 2

    @property
    def num_symbols(self) -> int:
        """The number of symbols."""
        return self.vocab_size - 2

    def symbol(self, token: int) -> str:
        """A symbol in readable form."""
        return str(token)

    def label(self, token: int) -> str:
        """A symbol, `|` for the separator, `*` for the filler."""
        special = {self.num_symbols: "|", self.num_symbols + 1: "*"}
        return special.get(token) or self.symbol(token)

    def strings(
        self, rng: np.random.Generator, count: int
    ) -> Int[np.ndarray, "{count} N"]:
        """Draws strings of the largest length."""
        return rng.integers(0, self.num_symbols, (count, self.num_scored))

    def answers(
        self, strings: Int[np.ndarray, "n N"], real: Bool[np.ndarray, "n N"]
    ) -> Int[np.ndarray, "n N"]:
        """The answers to strings, of which the `real` symbols count."""
        raise NotImplementedError

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets, positions and weights [n, P]."""
        N, filler = self.num_scored, self.num_symbols + 1
        lengths = rng.integers(self.min_tokens, N + 1, (count, 1))
        strings, real = self.strings(rng, count), np.arange(N) < lengths
        answers = self.answers(strings, real)
        text = np.full((count, self.seq_len + 1), filler)
        text[:, :N] = np.where(real, strings, filler)
        at = lengths + 1 + np.arange(N)
        np.put_along_axis(text, lengths, self.num_symbols, axis=1)
        np.put_along_axis(text, at, np.where(real, answers, filler), axis=1)
        return ask(text, at) | {"weights": real.astype(np.float32)}
