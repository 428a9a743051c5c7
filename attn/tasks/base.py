"""The base of tasks: a config, rows of arrays, an objective, trivial baselines.

Rows are dictionaries of equal-length arrays, one entry an example:

    tokens     int32 [rows, T]   what the model reads
    targets    int32 [rows, P]   what it must say, at P scored positions
    positions  int32 [rows, P]   where (only `scored="positions"`)
    lengths    int32 [rows]      real tokens of each row (only padded tasks)
                     [rows, 2]   of each document, where a row holds two (`Match`)
    source     int32 [rows, S]   what is read before, with `source_lengths` [rows]
                                 (only `SequenceToSequence`)
    weights    float32 [rows] or [rows, P]   how much each counts (1 unless given)
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from attn.errors import UserError, require_positive, unknown
from attn.objectives import Metric, Objective

Rows = Mapping[str, np.ndarray]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits of a built task, and a hash of their content."""

    splits: Mapping[str, Rows]
    sha256: str
    """The hash of the rows of all splits; equal wherever the task is built. (Record
    files are not: protobuf orders an example's keys anew in every process.)"""
    builder: str
    """TFDS name, config and version, as in `digits/seq_len-64_data_seed-0/1.0.0`."""


@dataclass(frozen=True)
class Task:
    """The base of task configs, free of heavy imports; subclasses add their knobs."""

    name: ClassVar[str]
    objective: ClassVar[Objective] = Objective()
    """The training objective, of which subclasses name one."""
    padded: ClassVar[bool] = False
    version: ClassVar[str] = "1.0.0"
    """The version of the generator, which changes whenever the same config yields other
    rows."""
    split_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that move rows of the same data from one split to another."""

    seq_len: int = 64
    """Tokens the model reads, T; of a target, where there is a source."""

    def __post_init__(self):
        require_positive(self, "seq_len")
        documents = self.objective.num_documents
        if self.seq_len % documents:
            raise UserError(
                f"{type(self).__name__}.seq_len = {self.seq_len}; a row holds {documents} "
                f"documents of equal length, so choose a multiple of {documents}"
            )

    @property
    def vocab_size(self) -> int:
        """The number of different input tokens, V."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """The number of different targets; `vocab_size` where they are tokens."""
        return self.vocab_size

    @property
    def source_len(self) -> int:
        """The number of tokens of the source, S; 0 where there is none."""
        return 0

    @property
    def num_scored(self) -> int:
        """The number of scored positions of a row, P."""
        return self.objective.num_scored(self.seq_len)

    @property
    def document_len(self) -> int:
        """The number of tokens that the model reads together: T, or those of one document."""
        return self.seq_len // self.objective.num_documents

    @property
    def image(self) -> tuple[int, int] | None:
        """The height and width of the image whose pixels the tokens are, if they are."""
        return None

    @property
    def metric(self) -> Metric:
        """The metric by which runs are scored."""
        return self.objective.metric

    def label(self, token: int) -> str:
        """A token in readable form."""
        return str(token)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; unless overridden, of labels with spaces between.

        Raises:
            UserError: a word is no token's label.
        """
        known = {self.label(token): token for token in range(self.vocab_size)}
        for word in text.split():
            if word not in known:
                raise unknown(f"token of task {self.name!r}", word, known)
        return [known[word] for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, as `encode` takes it."""
        return " ".join(map(self.label, tokens))

    def check(self) -> None:
        """Raises `UserError` where a package that the task needs is missing."""

    def resolved(self) -> "Task":
        """The task with what only its data say, as the size of a vocabulary."""
        return self

    def remark(self) -> str:
        """A sentence for whoever builds the data, as of what is left out; mostly ""."""
        return ""

    @property
    def source(self) -> str:
        """The version of the data beside the config, as in `python-3.11.7`."""
        return ""

    @property
    def slug(self) -> str:
        """The config as a folder name, so it holds every field."""
        words = [f"{f.name}-{getattr(self, f.name)}" for f in fields(self)]
        return "_".join([*words, self.source] if self.source else words)

    def rows(self, split: str) -> Rows:
        """Makes all rows of one split, in small dtypes; the same in every process."""
        raise NotImplementedError

    def examples(self, split: str) -> Iterator[dict[str, np.ndarray]]:
        """Yields the rows of one split as dictionaries, the same in every process."""
        rows = self.rows(split)
        for row in range(len(rows["tokens"])):
            yield {key: np.asarray(array[row]) for key, array in rows.items()}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes the task's metric for trivial predictors, by name."""
        raise NotImplementedError

    def solvers(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies of solvers that know the rule, by name.

        They show that rows carry their answers, and are no baselines.
        """
        return {}


@dataclass(frozen=True)
class Streamed(Task):
    """The base of tasks whose data may be larger than memory: streams, kept on disk."""

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields all data in parts of one dimension, each with its stream's name."""
        raise NotImplementedError

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split, as views of the streams."""
        raise NotImplementedError

    def rows(self, split: str) -> Rows:
        """Makes the rows of one split from streams in memory."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        found: dict[str, list[np.ndarray]] = {}
        for name, part in self.parts():
            found.setdefault(name, []).append(part)
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        return self.cut(whole)[split]


def split_rng(data_seed: int, split: str) -> np.random.Generator:
    """Makes the random generator of one split, from fixed integers (never `hash`)."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return np.random.default_rng([data_seed, SPLITS.index(split)])


def split_by_hash(content: bytes, data_seed: int, held_out: float) -> str:
    """The split that an example goes into by its content, so equal ones go together."""
    digest = hashlib.sha256(f"{data_seed}\0".encode() + content).digest()
    at = int.from_bytes(digest[:8], "big") / 2**64
    if at < held_out:
        return "test"
    return "valid" if at < 2 * held_out else "train"


def require_seed(task: Task, field: str = "data_seed") -> None:
    """Raises `UserError` unless a seed is valid for numpy."""
    seed = getattr(task, field)
    if seed < 0:
        raise UserError(f"{type(task).__name__}.{field} = {seed}; it must be 0 or more")


def in_32_bits(array: np.ndarray) -> np.ndarray:
    """Casts an array of rows to float32 where it holds fractions, else to int32."""
    return np.asarray(array, np.float32 if array.dtype.kind == "f" else np.int32)


def small_dtype(limit: int) -> np.dtype:
    """The smallest unsigned dtype for the integers below `limit`."""
    return np.min_scalar_type(limit - 1)
