"""Multi-query associative recall: key-value pairs, then each key once more.

The rules are those of Zoology's figure 2 (Arora et al. 2024, arXiv 2312.04927), read
in `zoology/data/multiquery_ar.py` with `random_non_queries=False`:

    tokens   k0 v0 k1 v1  0  0 k1  0  0  0 k0  0      context, then keys among zeros
    targets                    v1          v0         scored where the key stands

Filler is token 0, which is neither key nor value. (Random filler, Zoology's default
outside the figure, may hold a key and so pair it anew.)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.errors import UserError, require_positive
from attn.objectives import NextToken
from attn.tasks.base import (
    Dataset,
    Rows,
    Task,
    require_seed,
    small_dtype,
    split_rng,
)

FILLER = 0


@dataclass(frozen=True)
class MQAR(Task):
    """Recall the value of each of `num_pairs` keys."""

    name = "mqar"
    objective = NextToken(scored="positions")

    seq_len: int = 64
    num_pairs: int = 4
    """Pairs in the context, each queried once, P."""
    vocab_size: int = 512
    """Vocabulary V: keys are 1 .. V/2 - 1, values V/2 .. V - 1 (Zoology's figure:
    8192)."""
    power_a: float = 0.01
    """Exponent a: a gap of g between context and query has probability proportional to
    (g+1)^(a-1)."""
    num_train: int = 32_768
    num_valid: int = 1_024
    num_test: int = 2_048
    data_seed: int = 0

    def __post_init__(self):
        require_positive(self, "seq_len", "num_pairs", "vocab_size")
        require_positive(self, "num_train", "num_valid", "num_test")
        require_seed(self)
        if not self.power_a > 0:
            raise UserError(f"MQAR.power_a = {self.power_a}; it must be above 0")
        if self.seq_len < 4 * self.num_pairs:
            raise UserError(
                f"MQAR.seq_len = {self.seq_len} cannot hold num_pairs = "
                f"{self.num_pairs}; it must be at least {4 * self.num_pairs}"
            )
        if self.first_value - 1 < self.num_pairs:
            raise UserError(
                f"MQAR.vocab_size = {self.vocab_size} has fewer than num_pairs = "
                f"{self.num_pairs} keys; it must be at least {2 * self.num_pairs + 2}"
            )

    @property
    def first_value(self) -> int:
        """The smallest value token; keys are below it."""
        return self.vocab_size // 2

    @property
    def num_scored(self) -> int:
        """The number of queries: one for every pair."""
        return self.num_pairs

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, T], targets and positions [n, P], in order of position."""
        rng = split_rng(self.data_seed, split)
        count, context = getattr(self, f"num_{split}"), 2 * self.num_pairs
        keys = 1 + distinct(rng, count, self.num_pairs, self.first_value - 1)
        num_values = self.vocab_size - self.first_value
        values = self.first_value + distinct(rng, count, self.num_pairs, num_values)
        where = context + 2 * self._gaps(rng, count)
        tokens = np.full((count, self.seq_len), FILLER)
        tokens[:, 0:context:2], tokens[:, 1:context:2] = keys, values
        np.put_along_axis(tokens, where, keys, axis=1)
        order = np.argsort(where, axis=1)
        word = small_dtype(self.vocab_size)
        return {
            "tokens": tokens.astype(word),
            "targets": np.take_along_axis(values, order, axis=1).astype(word),
            "positions": np.take_along_axis(where, order, axis=1).astype(
                small_dtype(self.seq_len)
            ),
        }

    def _gaps(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draws [count, P] gaps, distinct within a row.

        The largest of log p + Gumbel noise are a draw without replacement, in the order
        of drawing (as `np.random.choice` does it).
        """
        space = (self.seq_len - 2 * self.num_pairs) // 2
        log_p = (self.power_a - 1) * np.log(np.arange(1, space + 1))
        noise = -np.log(-np.log1p(-rng.random((count, space))))
        return np.argsort(-(log_p + noise), axis=1, kind="stable")[:, : self.num_pairs]

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; the two `chance` lines are exact.

        `pair_by_position` looks up which pair is asked at which position most often.
        Zoology's first pair draws its gap first, so this beats guessing.
        """
        test = data.splits["test"]
        last = test["tokens"][:, 2 * self.num_pairs - 1, None]
        table = np.zeros((self.seq_len, self.num_pairs), int)
        train = data.splits["train"]
        np.add.at(table, (train["positions"], self._asked(train)), 1)
        guess = table.argmax(axis=1)[test["positions"]]
        return {
            "chance_of_all_values": 1 / (self.vocab_size - self.first_value),
            "chance_of_context_values": 1 / self.num_pairs,
            "last_value": float(np.mean(last == test["targets"])),
            "pair_by_position": float(np.mean(guess == self._asked(test))),
        }

    def _asked(self, rows: Rows) -> np.ndarray:
        """The index of the pair that each query asks for, [n, P]."""
        values = rows["tokens"][:, 1 : 2 * self.num_pairs : 2]
        return (rows["targets"][:, :, None] == values[:, None]).argmax(axis=-1)


def distinct(
    rng: np.random.Generator, rows: int, count: int, limit: int
) -> Int[np.ndarray, "{rows} {count}"]:
    """Draws [rows, count] distinct integers below `limit`, all orders equally."""
    drawn = np.empty((rows, count), np.int64)
    for j in range(count):
        draw = rng.integers(0, limit - j, rows)
        for taken in np.sort(drawn[:, :j], axis=1).T:
            draw += draw >= taken
        drawn[:, j] = draw
    return drawn
