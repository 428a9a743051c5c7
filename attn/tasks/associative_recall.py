"""Associative recall: key-value pairs, then one of the keys.

The rules are those of H3 (Fu et al. 2023, arXiv 2212.14052, table 2), read in
`src/dataloaders/synthetics.py` of HazyResearch/safari with `allow_dot=False`:

    tokens   a 2 c 4 a 2 b 3 c 4 => c      keys may come again, with the same value
    target                          4      scored at the query alone

Each row maps all keys to values anew, each value drawn by itself. The key that is asked
is one of those shown, all equally. `noise_share` is MAD's noisy in-context recall (Poli
et al. 2024, arXiv 2403.17844; `mad/data/instances.py` of athms/mad-lab with
`multi_query=False`): so many pairs are two noise tokens.

Departures: only the answer is trained on; one shown pair is always real (MAD may choose
one that it does not show). The token "." of safari, for keys that are absent, is counted
in `vocab_size` and never comes, so that H3's 10 tokens are 4 keys and 4 values.
"""

from dataclasses import dataclass

import numpy as np

from attn.tasks.base import Dataset
from attn.tasks.synthetic import Synthetic, ask, letter, require
from attn.tasks.trivial import accuracy, commonest, fixed_place, majority


@dataclass(frozen=True)
class AssociativeRecall(Synthetic):
    """Recall the value of one key."""

    name = "associative_recall"

    seq_len: int = 22
    """Tokens, T: T - 2 of pairs, the separator, the query."""
    vocab_size: int = 10
    """Keys, values, noise, "." and the separator, in this order."""
    noise_vocab: int = 0
    """Noise tokens, of `vocab_size` (MAD: 16)."""
    noise_share: float = 0.0
    """Chance that a pair is noise (MAD: 0.2)."""

    def __post_init__(self):
        super().__post_init__()
        even = self.seq_len >= 4 and self.seq_len % 2 == 0
        require(self, "seq_len", even, "it must be even and at least 4")
        require(self, "noise_vocab", self.noise_vocab >= 0, "it must be 0 or more")
        least = self.noise_vocab + 4
        words = f"it must be at least {least}: a key, a value, noise, '.' and separator"
        require(self, "vocab_size", self.vocab_size >= least, words)
        share = 0 <= self.noise_share < 1 and (self.noise_vocab or not self.noise_share)
        words = "it must be at least 0 and below 1, and 0 where noise_vocab is 0"
        require(self, "noise_share", bool(share), words)

    @property
    def num_keys(self) -> int:
        """The number of keys, tokens 0 .. K - 1."""
        return (self.vocab_size - 2 - self.noise_vocab) // 2

    @property
    def first_noise(self) -> int:
        """The first noise token; values end below it."""
        return self.vocab_size - 2 - self.noise_vocab

    @property
    def num_scored(self) -> int:
        """The number of queries, 1."""
        return 1

    def label(self, token: int) -> str:
        """A letter for a key, a number for a value, `~` and a number for noise."""
        if token >= self.vocab_size - 2:
            return "=>" if token == self.vocab_size - 1 else "."
        if token >= self.first_noise:
            return f"~{token - self.first_noise}"
        return letter(token) if token < self.num_keys else str(token - self.num_keys)

    def draw(self, rng, count, split):
        """Draws tokens [n, T], targets and positions [n, 1]."""
        values = rng.integers(self.num_keys, self.first_noise, (count, self.num_keys))
        pairs = self._pairs(rng, values)
        shown = (pairs[:, :, :1] == np.arange(self.num_keys)).any(axis=1)
        asked = np.where(shown, rng.random(shown.shape), -1).argmax(axis=1)[:, None]
        separator = np.full((count, 1), self.vocab_size - 1)
        answer = np.take_along_axis(values, asked, axis=1)
        text = np.hstack([pairs.reshape(count, -1), separator, asked, answer])
        return ask(text, np.array([[self.seq_len]]))

    def _pairs(self, rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
        """Draws the pairs of rows, [n, pairs, 2], with the values [n, K] of their keys."""
        shape = len(values), self.seq_len // 2 - 1
        keys = rng.integers(0, self.num_keys, shape)
        pairs = np.stack([keys, np.take_along_axis(values, keys, axis=1)], axis=-1)
        noise = rng.random(shape) < self.noise_share
        noise[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = False
        hidden = self.first_noise + rng.integers(
            0, max(self.noise_vocab, 1), (*shape, 2)
        )
        return np.where(noise[..., None], hidden, pairs)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact."""
        test = data.splits["test"]
        values = self.num_keys, self.first_noise
        return {
            "chance": 1 / (self.first_noise - self.num_keys),
            "majority": majority(data),
            "last_value": accuracy(test["tokens"][:, -3:-2], test),
            "commonest_value": accuracy(commonest(test["tokens"], *values), test),
            "fixed_place": fixed_place(data),
        }
