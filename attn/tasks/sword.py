"""Texts of SWORD modules in Debian packages: `zText`, one compressed block a book.

Three files a testament, all little-endian, as the SWORD library's `zverse.cpp` reads them:

    .bzs   12 bytes a block    offset and size in .bzz, size unpacked
    .bzv   10 bytes a verse    block, offset and size (2 bytes) in the unpacked block
    .bzz   the blocks, each packed by zlib

Modules with one versification have the same verses at the same places; headings of the
module, of books and of chapters have places of their own. Texts are OSIS, of which notes,
titles and marks of paragraphs are dropped and all other markup is taken off.
"""

import re
import zlib
from functools import lru_cache
from html import unescape
from pathlib import Path

import numpy as np

from attn.errors import UserError
from attn.tasks.archives import open_deb, read_file

FOLDER = "./usr/share/sword/modules/texts/ztext/"
TESTAMENTS = ("ot", "nt")
BLOCK = np.dtype([("offset", "<u4"), ("size", "<u4"), ("unpacked", "<u4")])
VERSE = np.dtype([("block", "<u4"), ("offset", "<u4"), ("size", "<u2")])
DROPPED = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
TAG = re.compile(r"<[^>]*>|¶")


@lru_cache(maxsize=2)
def verses(path: Path) -> tuple[str, ...]:
    """The text of every place of a module, "" where there is none.

    Raises:
        UserError: the package holds no such module.
    """
    files = {}
    with open_deb(path) as tar:
        for member in tar:
            if member.name.startswith(FOLDER):
                files[Path(member.name).name] = read_file(tar, member)
    found = []
    for testament in TESTAMENTS:
        names = [f"{testament}.bz{kind}" for kind in "svz"]
        if any(name not in files for name in names):
            raise UserError(
                f"{path} has no {', '.join(names)} in {FOLDER}; fetch it again"
            )
        found += _testament(*(files[name] for name in names))
    return tuple(found)


def _testament(starts: bytes, places: bytes, packed: bytes) -> list[str]:
    blocks = [
        zlib.decompress(packed[block["offset"] :][: block["size"]])
        for block in np.frombuffer(starts, BLOCK)
    ]
    return [
        plain(blocks[place["block"]][place["offset"] :][: place["size"]].decode())
        for place in np.frombuffer(places, VERSE)
    ]


def plain(osis: str) -> str:
    """A verse without markup, notes and titles; white space is one blank."""
    return " ".join(unescape(TAG.sub("", DROPPED.sub("", osis))).split())
