"""What a task is: a frozen config, rows of arrays, an objective, trivial baselines.

Rows are dictionaries of equal-length arrays, one entry an example:

    tokens     int32 [rows, T]   what the model reads
    targets    int32 [rows, P]   what it must say, at P scored positions
    positions  int32 [rows, P]   where (only `scored="positions"`)
    lengths    int32 [rows]      real tokens of each row (only padded tasks)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from attn.errors import UserError, require_positive, unknown
from attn.objectives import Metric, Objective

Rows = Mapping[str, np.ndarray]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Dataset:
    """The three splits of a built task, and a hash that names their content."""

    splits: Mapping[str, Rows]
    sha256: str
    """Of the rows of all splits; equal wherever the task is built. (Record files are
    not: protobuf orders an example's keys anew in every process.)"""
    builder: str
    """TFDS name, config and version, as in `digits/seq_len-64_data_seed-0/1.0.0`."""


@dataclass(frozen=True)
class Task:
    """A task's config. Subclasses add their knobs, and stay free of heavy imports."""

    name: ClassVar[str]
    objective: ClassVar[Objective]
    """What a model of this task is trained for."""
    padded: ClassVar[bool] = False
    version: ClassVar[str] = "1.0.0"
    """Of the generator: changes whenever the same config yields other rows."""

    seq_len: int = 64
    """Tokens the model reads, T."""

    def __post_init__(self):
        require_positive(self, "seq_len")

    @property
    def vocab_size(self) -> int:
        """Different input tokens, V."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Different targets; equal to `vocab_size` where the model speaks tokens."""
        return self.vocab_size

    @property
    def num_scored(self) -> int:
        """Scored positions of a row, P."""
        return self.objective.num_scored(self.seq_len)

    @property
    def metric(self) -> Metric:
        """The score of a run."""
        return self.objective.metric

    def label(self, token: int) -> str:
        """A token as a person reads it."""
        return str(token)

    @property
    def source(self) -> str:
        """What the rows depend on beside the config, as in `python-3.11.7`."""
        return ""

    @property
    def slug(self) -> str:
        """The config in one word: its folder, so it holds every field."""
        words = [f"{f.name}-{getattr(self, f.name)}" for f in fields(self)]
        return "_".join([*words, self.source] if self.source else words)

    def rows(self, split: str) -> Rows:
        """All rows of one split, in small dtypes; the same in every process."""
        raise NotImplementedError

    def examples(self, split: str) -> Iterator[dict[str, np.ndarray]]:
        """Yields the rows of one split as dictionaries, the same in every process."""
        rows = self.rows(split)
        for row in range(len(rows["tokens"])):
            yield {key: np.asarray(array[row]) for key, array in rows.items()}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """The task's metric for predictors without a model, by name."""
        raise NotImplementedError


def split_rng(data_seed: int, split: str) -> np.random.Generator:
    """The random numbers of one split, from fixed integers alone (never `hash`)."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return np.random.default_rng([data_seed, SPLITS.index(split)])


def require_seed(task: Task, field: str = "data_seed") -> None:
    """Raises `UserError` unless a seed can seed numpy."""
    seed = getattr(task, field)
    if seed < 0:
        raise UserError(f"{type(task).__name__}.{field} = {seed}; it must be 0 or more")


def small_dtype(limit: int) -> np.dtype:
    """The smallest unsigned dtype for the integers below `limit`."""
    return np.min_scalar_type(limit - 1)
