"""Data that may be larger than memory: a file for each stream, mapped when read."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from attn.tasks.base import Rows, Streamed

DTYPES = "dtypes.json"


def write(task: Streamed, folder: Path) -> Path:
    """Writes the streams of a task, part by part, below a folder; returns where."""
    built = folder / "streams"
    built.mkdir()
    files: dict[str, BinaryIO] = {}
    dtypes: dict[str, np.dtype] = {}
    with ExitStack() as stack:
        for name, part in task.parts():
            if name not in files:
                dtypes[name] = part.dtype
                files[name] = stack.enter_context((built / name).open("wb"))
            files[name].write(part.astype(dtypes[name], copy=False).tobytes())
    strings = {name: dtype.str for name, dtype in dtypes.items()}
    (built / DTYPES).write_text(json.dumps(strings))
    return built


def read(task: Streamed, folder: Path) -> tuple[Mapping[str, Rows], str]:
    """The rows of each split, as views of mapped files, and a hash of their content."""
    dtypes = json.loads((folder / DTYPES).read_text())
    streams = {name: _mapped(folder / name, dtypes[name]) for name in dtypes}
    splits = task.cut(streams)
    digest = hashlib.sha256((folder / "SHA256SUMS").read_bytes())
    for split, rows in splits.items():
        digest.update(f"{split} {rows['tokens'].shape}\n".encode())
    return splits, digest.hexdigest()


def _mapped(path: Path, dtype: str) -> np.ndarray:
    """The values of a file, read from disk when they are used."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
