"""The base of synthetic tasks: rows drawn by a rule, in splits that share none.

A row's tokens alone say its split: a hash of them gives three quarters of all possible
rows to train, an eighth to valid and an eighth to test (as minGPT's `SortDataset` does
with a quarter), whatever the seed. Where few rows are possible a split repeats its own,
and where it has none it cannot be drawn, which is said.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer

from attn.errors import UserError, require_positive
from attn.objectives import NextToken
from attn.tasks.base import SPLITS, Rows, Task, require_seed, small_dtype, split_rng

AT_ONCE = 256
PATIENCE = 100
"""Draws without a new row after which a split counts as empty."""


@dataclass(frozen=True)
class Synthetic(Task):
    """The base of tasks that are rules; subclasses draw rows and add their knobs."""

    objective = NextToken(scored="positions")

    num_train: int = 32_768
    num_valid: int = 1_024
    num_test: int = 2_048
    data_seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "num_train", "num_valid", "num_test")
        require_seed(self)

    def draw(
        self, rng: np.random.Generator, count: int, split: str
    ) -> dict[str, np.ndarray]:
        """Draws `count` rows of any split, or fewer where some break the rule.

        The name of the split is for rules that differ between training and test.
        """
        raise NotImplementedError

    def rows(self, split: str) -> Rows:
        """Makes the rows of one split; a longer split begins with those of a shorter."""
        rng, wanted = split_rng(self.data_seed, split), getattr(self, f"num_{split}")
        parts, found, barren = [], 0, 0
        while found < wanted:
            drawn = self.draw(rng, AT_ONCE, split)
            kept = split_of(drawn["tokens"]) == SPLITS.index(split)
            parts.append({key: array[kept] for key, array in drawn.items()})
            found, barren = found + kept.sum(), 0 if kept.any() else barren + 1
            if barren == PATIENCE:
                raise UserError(
                    f"{type(self).__name__}.seq_len = {self.seq_len} allows too few "
                    f"rows: none is of split {split!r}; make it longer, or the "
                    "vocabulary larger"
                )
        return {
            key: self._small(key, np.concatenate([p[key] for p in parts])[:wanted])
            for key in parts[0]
        }

    def _small(self, key: str, array: np.ndarray) -> np.ndarray:
        if key == "weights":
            return array.astype(np.float32)
        limit = self.seq_len if key == "positions" else self.vocab_size
        return array.astype(small_dtype(limit))


def split_of(tokens: Integer[np.ndarray, "n T"]) -> Int[np.ndarray, " n"]:
    """The number of each row's split in `SPLITS`, from its tokens alone."""
    powers = np.cumprod(np.full(tokens.shape[1], 0x9E3779B97F4A7C15, np.uint64))
    code = tokens.astype(np.uint64) @ powers  # modulo 2^64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        code = (code ^ (code >> np.uint64(33))) * np.uint64(factor)
    eighth = (code >> np.uint64(61)).astype(np.int64)
    return np.maximum(eighth, 5) - 5


def ask(
    text: Int[np.ndarray, "n S"], at: Int[np.ndarray, "#n P"]
) -> dict[str, np.ndarray]:
    """Makes rows that read all but the last token and say those `at` some places.

    Each token is said where the one before it is read.
    """
    at = np.broadcast_to(at, (len(text), at.shape[1]))
    return {
        "tokens": text[:, :-1],
        "targets": np.take_along_axis(text, at, axis=1),
        "positions": at - 1,
    }


def letter(index: int) -> str:
    """The letter of a token, or its number beyond 26."""
    return chr(ord("a") + index) if index < 26 else str(index)


def require(task: Task, field: str, holds: bool, otherwise: str) -> None:
    """Raises `UserError` with a knob's name, its value and the way out, unless it holds."""
    if not holds:
        name, value = type(task).__name__, getattr(task, field)
        shown = repr(value) if isinstance(value, str) else value
        raise UserError(f"{name}.{field} = {shown}; {otherwise}")
