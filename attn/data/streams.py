"""Sequences of tokens longer than memory: files of one dtype, mapped when read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attn.tasks.base import Rows, Streamed, small_dtype

ENDING = ".tokens"
DTYPE = "dtype.json"


def write(task: Streamed, folder: Path) -> Path:
    """Writes the sequences of a task, part by part, below a folder; returns where."""
    built = folder / "tokens"
    built.mkdir()
    dtype = small_dtype(task.vocab_size)
    for name, parts in task.streams().items():
        with (built / f"{name}{ENDING}").open("wb") as file:
            for part in parts:
                file.write(part.astype(dtype, copy=False).tobytes())
    (built / DTYPE).write_text(json.dumps(dtype.str))
    return built


def read(task: Streamed, folder: Path) -> tuple[Mapping[str, Rows], str]:
    """The rows of each split, as views of mapped files, and a hash of their content."""
    dtype = np.dtype(json.loads((folder / DTYPE).read_text()))
    paths = sorted(folder.glob(f"*{ENDING}"))
    streams = {path.stem: _mapped(path, dtype) for path in paths}
    splits = task.cut(streams)
    digest = hashlib.sha256((folder / "SHA256SUMS").read_bytes())
    for split, rows in splits.items():
        digest.update(f"{split} {rows['tokens'].shape}\n".encode())
    return splits, digest.hexdigest()


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """The tokens of a file, read from disk when they are used."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
