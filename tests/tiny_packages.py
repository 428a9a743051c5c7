"""Data packages in miniature, in the formats of the real ones."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

TRAIN, VALID, TEST = 60, 20, 30
HEADERS = b"From me  Thu Aug 22 2002\nX-Filter: {}\nSubject: hello\n\n"


def tar_of(files: dict[str, bytes], mode: Literal["w:xz", "w:gz"]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def deb_of(files: dict[str, bytes], ending="xz") -> bytes:
    """A Debian package: an `ar` archive that holds tar archives."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        f"data.tar.{ending}": tar_of(files, "w:xz"),
    }
    packed = b"!<arch>\n"
    for name, content in members.items():
        head = f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        packed += head.encode() + content + b"\n" * (len(content) % 2)
    return packed


def idx_of(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes(), mtime=0)


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise in which a bright line tells the label."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    drawn = rng.integers(0, 50, (count, 28, 28), np.uint8)
    drawn[np.arange(count), 2 * labels] = 255
    return drawn, labels


def fashion() -> bytes:
    files = {}
    for part, count, seed in (("train", TRAIN + VALID, 0), ("t10k", TEST, 1)):
        drawn, labels = images(count, seed)
        files[f"{part}-images-idx3-ubyte.gz"] = idx_of(drawn)
        files[f"{part}-labels-idx1-ubyte.gz"] = idx_of(labels)
    folder = "./usr/share/datasets/fashion-mnist"
    return deb_of({f"{folder}/{name}": content for name, content in files.items()})


def mails() -> dict[str, bytes]:
    """Mails by name; every body of `spam-2` is also one of `spam-1`."""
    found = {}
    for i in range(150):
        wanted = b"We meet at %d o'clock, in room %d." % (i % 24, i)
        unwanted = b"BUY %d PILLS!!! %s\r\n" % (i, b"$" * (i % 40))
        found[f"easy-ham-1/{i:05}.aa.txt"] = wanted
        found[f"spam-1/{i:05}.bb.txt"] = unwanted
        found[f"spam-2/{i:05}.cc.txt"] = b"\n" + unwanted
    found["hard-ham-1/00000.dd.txt"] = b" \n"
    return found


def assassin() -> bytes:
    files = {
        name: HEADERS.replace(b"{}", name[:4].encode()) + body
        for name, body in mails().items()
    }
    files["easy-ham-1/00001.aa.json"] = b"{}"
    return tar_of(
        {f"package/data/{name}": body for name, body in files.items()}, "w:gz"
    )


@pytest.fixture(scope="session")
def tiny_archives(tmp_path_factory) -> Path:
    """A data folder with both archives."""
    from attn.tasks.packages import PACKAGES

    here = tmp_path_factory.mktemp("data")
    (here / "packages").mkdir()
    for name, content in {
        "fashion-mnist": fashion(),
        "spam-assassin": assassin(),
    }.items():
        (here / "packages" / PACKAGES[name].file).write_bytes(content)
    return here


@pytest.fixture
def tiny_packages(tiny_archives, monkeypatch) -> Path:
    """Archives in miniature, in the place of the real ones; the folder of both."""
    from attn.tasks.packages import PACKAGES

    folder = tiny_archives / "packages"
    monkeypatch.setenv("ATTN_DATA_DIR", str(tiny_archives))
    monkeypatch.setattr("attn.tasks.pixels.NUM_VALID", VALID)
    for name in ("fashion-mnist", "spam-assassin"):
        content = (folder / PACKAGES[name].file).read_bytes()
        known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        monkeypatch.setitem(PACKAGES, name, replace(PACKAGES[name], **known))
    return folder
