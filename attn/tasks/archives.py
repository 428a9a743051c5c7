"""Readers of archives, from the standard library alone: Debian packages and IDX files.

`ar` and IDX are as `man 5 ar`, and as http://yann.lecun.com/exdb/mnist (LeCun, Cortes and
Burges 1998), describe them.
"""

import contextlib
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from attn.errors import UserError

AR, HEADER = b"!<arch>\n", 60
"""The first bytes of an `ar` archive, and the size of each member's header."""
BYTES = 0x08
"""The code of IDX for bytes without a sign."""


def open_deb(path: Path) -> tarfile.TarFile:
    """Opens the files that a Debian package installs, as a tar archive.

    Raises:
        UserError: it is no Debian package, or packed as Python cannot read.
    """
    for name, content in _members(path.read_bytes()):
        if name.startswith("data.tar"):
            with contextlib.suppress(tarfile.ReadError):
                return tarfile.open(fileobj=io.BytesIO(content))
            raise UserError(f"{path} holds {name}; tarfile must know it, as it does xz")
    raise UserError(f"{path} holds no data.tar; give a Debian package")


def _members(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields the names and contents of an `ar` archive."""
    at = len(AR) if packed.startswith(AR) else len(packed)
    while at + HEADER <= len(packed):
        head = packed[at : at + HEADER].decode("ascii")
        at, size = at + HEADER, int(head[48:58])
        yield head[:16].rstrip(" /"), packed[at : at + size]
        at += size + size % 2  # members begin at even bytes


def read_file(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    """The content of a file in a tar archive; a folder has none."""
    file = tar.extractfile(member)
    return file.read() if file else b""


def read_idx(packed: bytes) -> UInt8[np.ndarray, "..."]:
    """The array of bytes in a gzipped IDX file: images, or labels."""
    content = gzip.decompress(packed)
    kind, ndim = content[2:4]
    if content[:2] != b"\0\0" or kind != BYTES:
        raise UserError("an IDX file must hold bytes; give another")
    shape = np.frombuffer(content, ">u4", ndim, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)
