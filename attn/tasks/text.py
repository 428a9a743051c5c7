"""Language modelling of a user's own text: a file, or a folder of files.

    python launch.py run text_softmax --task text:FILE

A folder with folders `train`, `valid` and `test` is split by them; other text is one
sequence, files in order of their paths, whose end is held out: valid, then test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from attn.errors import UserError
from attn.objectives import BITS_PER_BYTE, BITS_PER_TOKEN, NextToken
from attn.tasks.base import SPLITS, Dataset, Rows, Streamed
from attn.tasks.own import OwnData, read_parts
from attn.tasks.vocabulary import BYTES
from attn.tasks.windows import baselines, cut, require_even

ALL = "all"


@dataclass(frozen=True)
class Text(OwnData, Streamed):
    """Predict each next byte, character or piece of your own text."""

    name = "text"
    version = "1.1.0"

    def __post_init__(self):
        super().__post_init__()
        require_even(self)

    @property
    def objective(self) -> NextToken:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Next-token prediction, scored in bits per byte, or per other token."""
        return NextToken(BITS_PER_BYTE if self.vocabulary == BYTES else BITS_PER_TOKEN)

    def texts(self) -> Iterator[tuple[str, bytes]]:
        for paths in self._files().values():
            for path in paths:
                yield from read_parts(path)

    def content(self) -> Iterator[bytes]:
        for name, paths in self._files().items():
            yield name.encode()
            for path in paths:
                yield from (part for _, part in read_parts(path))

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, paths in self._files().items():
            for path in paths:
                for origin, part in read_parts(path):
                    yield name, self.words.encode(part, origin)

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        if ALL in streams:
            streams = split_end(streams[ALL], self.held_out)
        way_out = "lower --task.seq-len, raise --task.held-out, or give more text"
        return cut(self.seq_len, streams, self.data, way_out)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits per token on the test split's scored tokens, fitted on train."""
        return baselines(data, self.vocab_size)

    def _files(self) -> dict[str, list[Path]]:
        """The files of each split, or of all together under `ALL`."""
        root = Path(self.data)
        if root.is_file():
            files = {ALL: [root]}
        elif all((root / split).is_dir() for split in SPLITS):
            files = {split: _files_in(root / split) for split in SPLITS}
        elif root.is_dir():
            files = {ALL: _files_in(root)}
        else:
            raise UserError(f"{self.data}: there is no such file or folder")
        for name, paths in files.items():
            if not any(path.stat().st_size for path in paths):
                where = self.data if name == ALL else f"{self.data}/{name}"
                raise UserError(f"{where} is empty; name a file, or a folder, of text")
        return files


def _files_in(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones, in order of their paths."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def split_end(
    tokens: Integer[np.ndarray, " tokens"], held_out: float
) -> Mapping[str, Integer[np.ndarray, " _"]]:
    """Splits a sequence into train, then valid and test, a share of it each."""
    held = int(len(tokens) * held_out)
    valid, test = len(tokens) - 2 * held, len(tokens) - held
    return {
        "train": tokens[:valid],
        "valid": tokens[valid:test],
        "test": tokens[test:],
    }
