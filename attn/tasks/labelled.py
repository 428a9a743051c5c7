"""Classification of a user's own examples: the base of CSV files and TFDS names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer

from attn.errors import UserError, require_positive
from attn.objectives import Classify
from attn.tasks.bags import baselines
from attn.tasks.base import (
    SPLITS,
    Dataset,
    Rows,
    Streamed,
    require_seed,
    small_dtype,
    split_by_hash,
)
from attn.tasks.own import OwnData

Example = tuple[str, str, bytes, str]
"""Where an example is from, its split (or ""), its text and its label."""


@dataclass(frozen=True)
class Labelled(OwnData, Streamed):
    """The base of tasks that tell the label of a text."""

    objective = Classify()
    padded = True
    version = "1.2.0"

    text_column: str = "text"
    """The column, or feature, of texts."""
    label_column: str = "label"
    """The column, or feature, of labels."""
    labels: tuple[str, ...] = ()
    """The labels in order, found by themselves."""
    data_seed: int = 0
    """Seed of the split, where the data have none: equal rows go into one split."""

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

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields each example: its tokens, cut at T and padded with 0, target, length."""
        target = {label: i for i, label in enumerate(self.labels)}
        for where, split, text, label in self.examples_of_data():
            tokens = self.words.encode(text, where)[: self.seq_len]
            if not len(tokens):
                raise UserError(f"{where} has no text; remove it, or fill it")
            row = np.zeros(self.seq_len, small_dtype(self.vocab_size))
            row[: len(tokens)] = tokens
            split = split or self.split_of(row)
            yield f"{split}.tokens", row
            yield f"{split}.targets", np.array([target[label]], np.int32)
            yield f"{split}.lengths", np.array([len(tokens)], np.int32)

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split: tokens [n, T], targets [n, 1], lengths [n]."""
        for split in SPLITS:
            if f"{split}.tokens" not in streams:
                raise UserError(
                    f"{self.data} has no examples in the {split} split; give more, or "
                    "raise --task.held-out"
                )
        return {
            split: {
                "tokens": streams[f"{split}.tokens"].reshape(-1, self.seq_len),
                "targets": streams[f"{split}.targets"].reshape(-1, 1),
                "lengths": streams[f"{split}.lengths"],
            }
            for split in SPLITS
        }

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `bag_of_tokens` is multinomial naive Bayes."""
        return baselines(data, self.num_classes, self.vocab_size)

    @property
    def by_hash(self) -> bool:
        """Whether the split of some example is not given, and goes by its hash."""
        return True

    @property
    def split_fields(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("data_seed", "held_out", "seq_len") if self.by_hash else ()

    def split_of(self, row: Integer[np.ndarray, " T"]) -> str:
        """The split that a row goes into by its hash, which equal rows go into too."""
        return split_by_hash(row.tobytes(), self.data_seed, self.held_out)


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by value, then words."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
