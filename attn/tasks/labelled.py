"""Classification of a user's own examples: the base of CSV files and TFDS names."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from attn.errors import UserError, require_positive, unknown
from attn.objectives import Classify
from attn.tasks.base import SPLITS, Dataset, Rows, require_seed, small_dtype
from attn.tasks.own import OwnData

Example = tuple[str, str, bytes, str]
"""Where an example is from, its split (or ""), its text and its label."""


@dataclass(frozen=True)
class Labelled(OwnData):
    """The base of tasks that tell the label of a text."""

    objective = Classify()
    padded = True

    text_column: str = "text"
    """The column, or feature, of texts."""
    label_column: str = "label"
    """The column, or feature, of labels."""
    labels: tuple[str, ...] = ()
    """The labels in order, found by themselves."""
    data_seed: int = 0
    """Seed of the split, where the data have none: equal texts go into one split."""

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "seq_len")
        require_seed(self)

    @property
    def num_classes(self) -> int:
        """The number of labels; at least 1."""
        return max(1, len(self.labels))

    @property
    def cut_by(self) -> tuple[str, ...]:
        return f"{self.seq_len}", f"{self.held_out}", f"seed-{self.data_seed}"

    def examples_of_data(self) -> Iterator[Example]:
        """Yields all examples in their order."""
        raise NotImplementedError

    def texts(self) -> Iterator[tuple[str, bytes]]:
        for where, _, text, _ in self.examples_of_data():
            yield where, text

    def content(self) -> Iterator[bytes]:
        for _, split, text, label in self.examples_of_data():
            yield f"{split}\0{label}\0{len(text)}\0".encode()
            yield text

    def resolved(self) -> "OwnData":
        self.require_data()
        labels = sorted({label for *_, label in self.examples_of_data()}, key=_order)
        if len(labels) < 2:
            found = f"only the label {labels[0]!r}" if labels else "no examples"
            raise UserError(
                f"{self.data} has {found}; there must be two labels or more"
            )
        return replace(super().resolved(), labels=tuple(labels))  # pyright: ignore[reportCallIssue]

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, T], cut at T and padded with 0; targets [n, 1]; lengths [n]."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        kept = _tokens_of(self).get(split, [])
        if not kept:
            raise UserError(
                f"{self.data} has no examples in the {split} split; give more, or raise "
                "--task.held-out"
            )
        tokens = np.zeros((len(kept), self.seq_len), small_dtype(self.vocab_size))
        for row, (ids, _) in zip(tokens, kept):
            row[: len(ids)] = ids
        return {
            "tokens": tokens,
            "targets": np.array([[target] for _, target in kept], np.int32),
            "lengths": np.array([len(ids) for ids, _ in kept], np.int32),
        }

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `bag_of_tokens` is multinomial naive Bayes."""
        train, test = data.splits["train"], data.splits["test"]
        target, truth = train["targets"][:, 0], test["targets"][:, 0]
        return {
            "chance": 1 / self.num_classes,
            "majority": float(np.mean(truth == np.bincount(target).argmax())),
            "bag_of_tokens": float(
                np.mean(truth == self._naive_bayes(train, target, test))
            ),
        }

    def _naive_bayes(self, train: Rows, target: np.ndarray, test: Rows) -> np.ndarray:
        """The likeliest class of each test row, by counts of tokens (one added)."""
        counts = np.ones((self.num_classes, self.vocab_size))
        for c in range(self.num_classes):
            chosen = {key: array[target == c] for key, array in train.items()}
            counts[c] += np.bincount(_real(chosen), minlength=self.vocab_size)
        logs = np.log(counts / counts.sum(axis=1, keepdims=True))
        prior = np.bincount(target, minlength=self.num_classes) + 1.0
        seen = np.arange(self.seq_len) < test["lengths"][:, None]
        scores = [
            np.log(prior[c]) + (logs[c][test["tokens"]] * seen).sum(axis=1)
            for c in range(self.num_classes)
        ]
        return np.argmax(scores, axis=0)

    def split_of(self, text: bytes) -> str:
        """The split that a text goes into by its hash, which repeats go into too."""
        digest = hashlib.sha256(f"{self.data_seed}\0".encode() + text).digest()
        at = int.from_bytes(digest[:8], "big") / 2**64
        if at < self.held_out:
            return "test"
        return "valid" if at < 2 * self.held_out else "train"


@lru_cache(maxsize=1)
def _tokens_of(task: Labelled) -> dict[str, list[tuple[np.ndarray, int]]]:
    """The tokens, cut at T, and the target of each example, by split."""
    target = {label: i for i, label in enumerate(task.labels)}
    found: dict[str, list[tuple[np.ndarray, int]]] = {}
    for where, split, text, label in task.examples_of_data():
        tokens = task.words.encode(text, where)[: task.seq_len]
        if not len(tokens):
            raise UserError(f"{where} has no text; remove it, or fill it")
        split = split or task.split_of(text)
        found.setdefault(split, []).append((tokens, target[label]))
    return found


def _real(rows: Rows) -> np.ndarray:
    """All tokens that are no padding, in one array."""
    seen = np.arange(rows["tokens"].shape[1]) < rows["lengths"][:, None]
    return rows["tokens"][seen]


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by value, then words."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
