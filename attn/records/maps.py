"""Attention maps on disk, read only within the memory that their shapes imply."""

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

NAME = "maps.npz"
DECODER, ENCODER = "layer_", "encoder_"
"""What the names of layers begin with, before their index in the stack."""
LARGEST_BYTES = 2**28
"""The maximum total size of the arrays of one file."""


@dataclass(frozen=True)
class Maps:
    """The attention maps of one seed on one test example."""

    layers: Mapping[str, np.ndarray]
    """float32 [N, T, S] by layer, an encoder's first."""
    labels: tuple[str, ...]
    """The label of each token that was read."""
    source_labels: tuple[str, ...] = ()
    """The label of each token of the source, which an encoder read."""

    def edges(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The labels of a layer's queries and of its keys; none where they are unknown."""
        T, S = self.layers[name].shape[1:]
        sides = (self.source_labels, self.labels)
        queries = self.source_labels if name.startswith(ENCODER) else self.labels
        keys = next((side for side in sides if len(side) == S != T), queries)
        return tuple(
            side if len(side) == n else () for side, n in ((queries, T), (keys, S))
        )  # pyright: ignore


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Encodes these arrays as an npz file."""
    raw = io.BytesIO()
    np.savez_compressed(raw, **arrays)
    return raw.getvalue()


def unpack(path: Path, *, largest: int = LARGEST_BYTES) -> Maps:
    """Decodes the maps in a file.

    Raises:
      ValueError: the file is damaged, or holds more than its shapes say.
    """
    try:
        _check_sizes(path, largest)
        with np.load(path, allow_pickle=False) as file:
            layers = {
                name: file[name].astype(np.float32)
                for start in (ENCODER, DECODER)
                for name in sorted(
                    (name for name in file.files if name.startswith(start)),
                    key=lambda name: int(name.rpartition("_")[2]),
                )
            }
            labels, source_labels = (
                tuple(str(label) for label in file[name]) if name in file.files else ()
                for name in ("labels", "source_labels")
            )
            if not labels:
                raise ValueError("it has no labels")
    except Exception as error:  # zip, zlib, pickle and key errors alike
        raise ValueError(str(error)) from error
    return Maps(layers, labels, source_labels)


def _check_sizes(path: Path, largest: int) -> None:
    """Raises ValueError unless arrays have the size of their shapes, and are small."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > largest:
            raise ValueError(f"it would unpack to more than {largest:,} bytes")
        for member in members:
            with archive.open(member) as file:
                version = npy.read_magic(file)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0  # fmt: skip
                shape, _, dtype = read(file)
                size = file.tell() + math.prod(shape) * dtype.itemsize
            if size != member.file_size or dtype.hasobject:
                raise ValueError(f"{member.filename} is not of the size of its shape")
