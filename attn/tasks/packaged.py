"""The bases of tasks on a data package, which read its archive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from attn.objectives import Classify
from attn.tasks.base import SPLITS, Rows, Streamed, Task, require_seed
from attn.tasks.packages import archive, find


@dataclass(frozen=True)
class Packaged(Task):
    """The base of tasks on a data package."""

    package: ClassVar[str]
    """The name of the data package."""

    @property
    def source(self) -> str:
        """The name and the version of the data package."""
        return f"{self.package}-{find(self.package).version}"

    def archive(self) -> Path:
        """The archive of the data package; raises `UserError` where it is not here."""
        return archive(self.package, f"task {self.name!r}")

    def check(self) -> None:
        """Raises `UserError` where the data package is not here, or damaged."""
        self.archive()


@dataclass(frozen=True)
class PackagedExamples(Packaged, Streamed):
    """The base of tasks that tell the label of an example of a data package."""

    objective = Classify()
    split_fields = ("data_seed",)

    data_seed: int = 0
    """Seed of the split."""

    def __post_init__(self):
        super().__post_init__()
        require_seed(self)

    def split_rows(self) -> Mapping[str, Rows]:
        """Reads the rows of every split from the archive."""
        raise NotImplementedError

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields tokens, targets and lengths of each split, in one dimension."""
        for split, rows in self.split_rows().items():
            for key, array in rows.items():
                yield f"{split}.{key}", array.reshape(-1)

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split: tokens [n, T], targets [n, 1], lengths [n]."""
        wide = {"tokens": (-1, self.seq_len), "targets": (-1, 1), "lengths": (-1,)}
        keys = wide if self.padded else ("tokens", "targets")
        return {
            split: {key: streams[f"{split}.{key}"].reshape(wide[key]) for key in keys}
            for split in SPLITS
        }
