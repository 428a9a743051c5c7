"""Spans that were cut out of a text, to be written: T5's objective, on bytes.

    source  each <0> mapping, it re<1>rns       target  <0>key of a<1>tu

Raffel et al. 2020, section 3.1.4: of a window 15 % of the tokens are noise, in spans of 3
on average, whose lengths and places are a random partition as in T5's
`random_spans_noise_mask`. Each span becomes one sentinel in the source; the target is the
spans, each behind its sentinel. Departures: bytes, for pieces of words; the target ends
with <end>, for a last sentinel. Texts are those of `masked`, in the same splits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from attn.errors import require_positive
from attn.objectives import BITS_PER_TOKEN, SequenceToSequence
from attn.tasks.base import SPLITS, Dataset, split_rng
from attn.tasks.corpora import CORPORA, Corpus, texts, version
from attn.tasks.pairs import BytePairs, Pair
from attn.tasks.synthetic import require
from attn.tasks.text_pairs import target_ngrams


@dataclass(frozen=True)
class Spans(BytePairs):
    """Write the spans that were cut out of a window of text."""

    name = "spans"
    version = "1.1.0"
    objective = SequenceToSequence(BITS_PER_TOKEN)
    split_fields = ()

    seq_len: int = 32
    """Tokens of the longest target and its end, T."""
    source_len: int = 120  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Tokens of the longest source, S."""
    corpus: Corpus = "pydoc"
    window: int = 128
    """Bytes of text from which spans are cut."""
    share: float = 0.15
    """The share of bytes that are cut out."""
    mean_span: float = 3.0
    """Bytes of a span, on average."""
    repeats: int = 2
    """How often each training window is used, each time with other spans."""

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "repeats")
        require(self, "corpus", self.corpus in CORPORA, "it must be pydoc or stdlib")
        require(self, "share", 0 < self.share < 1, "it must be above 0 and below 1")
        words = "spans have 1 byte or more on average"
        require(self, "mean_span", self.mean_span >= 1, words)
        words = "it holds no span, or nothing else; raise it, or change the share"
        require(self, "window", 0 < self.num_spans <= self.window - self.num_cut, words)

    @property
    def num_cut(self) -> int:
        """The number of bytes of a window that are cut out."""
        return round(self.share * self.window)

    @property
    def num_spans(self) -> int:
        """The number of spans of a window."""
        return min(self.num_cut, max(1, round(self.num_cut / self.mean_span)))

    @property
    def num_symbols(self) -> int:
        """The number of bytes and sentinels."""
        return 256 + self.num_spans

    def symbol(self, token: int) -> str:
        """The character of a byte, or a sentinel."""
        return super().symbol(token) if token < 256 else f"<{token - 256}>"

    def encode(self, text: str) -> list[int]:
        """The bytes of a text, and sentinels for `<0>`, `<1>`, ..."""
        parts = re.split(r"<(\d+)>", text)
        found = list(parts[0].encode())
        for number, after in zip(parts[1::2], parts[2::2]):
            sentinel = [256 + int(number)] if int(number) < self.num_spans else None
            found += sentinel or f"<{number}>".encode()
            found += after.encode()
        return found

    def spelled(self, symbols: Sequence[int]) -> str:
        """The text of some bytes, and sentinels between them."""
        parts = [bytes([x]) if x < 256 else self.symbol(x).encode() for x in symbols]
        return b"".join(parts).decode(errors="replace")

    @property
    def source(self) -> str:
        """The version of Python that the text belongs to."""
        return version()

    def pairs(self) -> Sequence[Pair]:
        """The windows of each split, in the order of the text, with spans cut out."""
        return _pairs(self)

    def split_of(self, pair: Pair) -> str:
        """The split of the text, which the group names."""
        return pair.group.decode()

    def without_spans(self, rng: np.random.Generator, text: bytes, split: str) -> Pair:
        """Cuts spans out of a window of a split's text."""
        kept = partition(rng, self.window - self.num_cut, self.num_spans).tolist()
        cut = partition(rng, self.num_cut, self.num_spans).tolist()
        source, target, at = [], [], 0
        for i, (before, span) in enumerate(zip(kept, cut)):
            sentinel = 256 + i
            source += [*text[at : at + before], sentinel]
            target += [sentinel, *text[at + before : at + before + span]]
            at += before + span
        return Pair(source, target, split.encode())

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits of a target token under n-grams, which read no source."""
        return target_ngrams(data, self.vocab_size)


@lru_cache(maxsize=1)
def _pairs(task: Spans) -> tuple[Pair, ...]:
    found = []
    for split in SPLITS:
        rng, text = split_rng(task.data_seed, split), texts(task.corpus)[split]
        for _ in range(task.repeats if split == "train" else 1):
            for start in range(0, len(text) - task.window + 1, task.window):
                part = text[start : start + task.window]
                found.append(task.without_spans(rng, part, split))
    return tuple(found)


def partition(
    rng: np.random.Generator, total: int, parts: int
) -> Int[np.ndarray, " parts"]:
    """Draws sizes of at least 1 that add up to a total, all such equally likely."""
    ends = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(ends, prepend=0, append=total)
