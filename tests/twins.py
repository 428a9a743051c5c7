"""A tiny task on pairs of documents, of several lengths."""

from dataclasses import dataclass

import numpy as np

from attn.objectives import Match
from attn.tasks import Task
from attn.tasks.base import split_rng

LETTERS = 3


@dataclass(frozen=True)
class Twins(Task):
    """Say whether two strings are mostly of one letter."""

    name = "twins"
    objective = Match()
    padded = True

    seq_len: int = 24

    @property
    def vocab_size(self):
        return 2 * LETTERS

    @property
    def num_classes(self):
        return 2

    def rows(self, split):
        rng, n = split_rng(0, split), 64 if split == "train" else 16
        letters = rng.integers(0, LETTERS, (n, 2, 1))
        noise = rng.integers(0, self.vocab_size, (n, 2, self.document_len))
        tokens = np.where(rng.random(noise.shape) < 0.6, letters, noise)
        return {
            "tokens": tokens.reshape(n, -1),
            "targets": (letters[:, 0] == letters[:, 1]).astype(int),
            "lengths": rng.integers(self.document_len // 2, self.document_len, (n, 2)),
        }

    def baselines(self, data):
        return {"chance": 0.5}


TWINS = Twins()
