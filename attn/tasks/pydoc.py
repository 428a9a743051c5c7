"""A byte-level language model of English: Python's own reference, as in `help()`.

The text is `pydoc_data.topics` (79 topics and 465 KB in Python 3.11), part of every
Python; it differs by Python version, which is therefore part of the dataset's name.

Topics quote each other at length, so each paragraph is kept once. Topics that still
share any 64 bytes form a group, and a group goes whole into one split: no 64 bytes of
the test text were ever trained on.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from attn.errors import UserError, unknown
from attn.objectives import BITS_PER_BYTE, NextToken
from attn.tasks.base import SPLITS, Dataset, Rows, Task
from attn.tasks.byte_tokens import ByteTokens
from attn.tasks.windows import baselines, windows

SHARED = 64
"""The number of common bytes by which two topics belong together."""
HELD_OUT = 0.10
"""The largest share of all bytes in the valid split, and in the test split."""
BETWEEN = b"\n\n"


@dataclass(frozen=True)
class PyDoc(ByteTokens, Task):
    """Predict each next byte of English reference prose."""

    name = "pydoc"
    objective = NextToken(BITS_PER_BYTE)

    seq_len: int = 256

    def __post_init__(self):
        if not 2 <= self.seq_len <= 16_384 or self.seq_len % 2:
            raise UserError(
                f"PyDoc.seq_len = {self.seq_len}; it must be even, from 2 to 16384 "
                "(train windows overlap by half, and the test text has 37 KB)"
            )

    @property
    def source(self) -> str:
        """The version of Python that the text belongs to."""
        return f"python-{platform.python_version()}"

    def rows(self, split: str) -> Rows:
        """Makes tokens and targets [n, T]: each valid and test byte is a target once.

        (But for the first byte and a last part shorter than a window.) Train windows
        begin every T/2 bytes.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        text = np.frombuffer(split_texts()[split], np.uint8)
        step = self.seq_len // 2 if split == "train" else self.seq_len
        return windows(text, self.seq_len, step)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits per byte on the test split's scored bytes, fitted on train."""
        return baselines(data, self.vocab_size)


@lru_cache(maxsize=1)
def split_texts() -> dict[str, bytes]:
    """The text of each split, its topics in order of name."""
    from pydoc_data.topics import topics

    texts = without_repeats({name: topics[name] for name in sorted(topics)})
    room = {
        split: HELD_OUT * sum(map(len, texts.values())) for split in ("test", "valid")
    }
    members: dict[str, list[str]] = {split: [] for split in SPLITS}
    for group in sorted(groups(texts), key=lambda group: name_hash(group[0])):
        size = sum(len(texts[name]) for name in group)
        split = next((s for s in room if size <= room[s]), "train")
        members[split] += group
        if split in room:
            room[split] -= size
    return {
        split: BETWEEN.join(texts[name] for name in sorted(names))
        for split, names in members.items()
    }


def without_repeats(topics: Mapping[str, str]) -> dict[str, bytes]:
    """Removes from each topic paragraphs that it, or an earlier one, already has."""
    seen: set[str] = set()  # for membership only, never iterated
    texts = {}
    for name, text in topics.items():
        kept = []
        for paragraph in text.strip().split("\n\n"):
            if paragraph not in seen:
                seen.add(paragraph)
                kept.append(paragraph)
        texts[name] = "\n\n".join(kept).encode()
    return {name: text for name, text in texts.items() if text}


def groups(texts: dict[str, bytes]) -> list[list[str]]:
    """Groups names of texts that share windows, directly or through others."""
    parent = {name: name for name in texts}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[bytes, str] = {}
    for name, text in texts.items():
        for start in range(len(text) - SHARED + 1):
            owner = first.setdefault(text[start : start + SHARED], name)
            if owner != name:
                parent[root(name)] = root(owner)
    together: dict[str, list[str]] = {}
    for name in texts:
        together.setdefault(root(name), []).append(name)
    return list(together.values())


def name_hash(name: str) -> str:
    """Hashes a name, which orders names in a fixed shuffle."""
    return hashlib.sha256(name.encode()).hexdigest()
