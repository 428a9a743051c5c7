"""The base of pair tasks: a target sequence to write after a source sequence is read.

    source   [n, S]   the source, padded with 0           source_lengths  [n]
    tokens   [n, T]   <start>, then the target            lengths         [n]
    targets  [n, T]   the target, then <end>

Source and target share one vocabulary: a task's symbols, then <start> and <end>. A pair
that does not fit is left out, never cut, and `remark` says how many are. Pairs are
divided among the splits by a hash of their group, so that what belongs together stays so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from attn.errors import UserError, require_positive
from attn.objectives import SequenceToSequence
from attn.tasks.base import (
    SPLITS,
    Dataset,
    Rows,
    Streamed,
    require_seed,
    small_dtype,
    split_by_hash,
)
from attn.tasks.targets import commonest_targets, padded, scores
from attn.tasks.vocabulary import Vocabulary


class Pair(NamedTuple):
    """A source and a target in symbols, and what decides on their split."""

    source: Sequence[int]
    target: Sequence[int]
    group: bytes
    """The content that is hashed; pairs of equal sources have equal groups."""


@dataclass(frozen=True)
class Pairs(Streamed):
    """The base of tasks that write a target after reading a source."""

    objective = SequenceToSequence()
    padded = True
    split_fields = ("data_seed",)
    held_out: ClassVar[float] = 0.1
    """The share of groups in valid, and in test."""

    seq_len: int = 64
    """Tokens of the longest target and its end, T."""
    source_len: int = 64  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Tokens of the longest source, S."""
    data_seed: int = 0
    """Seed of the split, and of what is drawn."""

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "source_len")
        require_seed(self)

    @property
    def num_symbols(self) -> int:
        """The number of different tokens but <start> and <end>."""
        raise NotImplementedError

    @property
    def start(self) -> int:
        """The token before every target."""
        return self.num_symbols

    @property
    def end(self) -> int:
        """The token after every target."""
        return self.num_symbols + 1

    @property
    def vocab_size(self) -> int:
        """The number of symbols, <start> and <end>, V."""
        return self.num_symbols + 2

    def symbol(self, token: int) -> str:
        """A symbol in readable form."""
        raise NotImplementedError

    def label(self, token: int) -> str:
        """A token in readable form."""
        special = {self.start: "<start>", self.end: "<end>"}
        return special.get(token) or self.symbol(token)

    def spelled(self, symbols: Sequence[int]) -> str:
        """The text of some symbols."""
        raise NotImplementedError

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, without <start> and <end>."""
        return self.spelled([token for token in tokens if token < self.num_symbols])

    def text(self, tokens: Integer[np.ndarray, " L"]) -> str:
        """The text of a row's targets, or of a model's output: what is before <end>."""
        said = np.asarray(tokens).tolist()
        said = said[: said.index(self.end)] if self.end in said else said
        return self.spelled([token for token in said if token < self.num_symbols])

    def pairs(self) -> Sequence[Pair]:
        """All pairs, in an order that is the same in every process."""
        raise NotImplementedError

    def fits(self, pair: Pair) -> bool:
        """Whether a pair is within S and T."""
        return len(pair.source) <= self.source_len and len(pair.target) < self.seq_len

    def remark(self) -> str:
        """Tells how many pairs there are, and how many are left out as too long."""
        pairs = self.pairs()
        kept = sum(map(self.fits, pairs))
        return (
            f"{self.name} has {kept:,} pairs; {len(pairs) - kept:,} of {len(pairs):,} are "
            f"longer than source_len = {self.source_len} or seq_len = {self.seq_len} and "
            "left out"
        )

    def split_of(self, pair: Pair) -> str:
        """The split that a pair goes into."""
        return split_by_hash(pair.group, self.data_seed, self.held_out)

    def split_pairs(self) -> Mapping[str, list[Pair]]:
        """The pairs of every split that fit.

        Raises:
            UserError: a split has none.
        """
        found: dict[str, list[Pair]] = {split: [] for split in SPLITS}
        for pair in filter(self.fits, self.pairs()):
            found[self.split_of(pair)].append(pair)
        if empty := [split for split in SPLITS if not found[split]]:
            raise UserError(
                f"{type(self).__name__} has no pair in the {empty[0]} split: "
                f"{self.remark()}; raise them"
            )
        return found

    def columns(self, pairs: Sequence[Pair]) -> Rows:
        """The rows of some pairs, by key."""
        tokens = [(self.start, *pair.target) for pair in pairs]
        targets = [(*pair.target, self.end) for pair in pairs]
        sources = [pair.source for pair in pairs]
        return {
            "source": self._padded(sources, self.source_len),
            "source_lengths": np.array([*map(len, sources)], np.int32),
            "tokens": self._padded(tokens, self.seq_len),
            "targets": self._padded(targets, self.seq_len),
            "lengths": np.array([*map(len, targets)], np.int32),
        }

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each key of the rows, -1 for their number."""
        T, S = self.seq_len, self.source_len
        return {
            "source": (-1, S),
            "source_lengths": (-1,),
            "tokens": (-1, T),
            "targets": (-1, T),
            "lengths": (-1,),
        }

    def _padded(self, sequences: Sequence[Sequence[int]], width: int) -> np.ndarray:
        return padded(sequences, width).astype(small_dtype(self.vocab_size))

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields each key of each split, in one dimension."""
        for split, pairs in self.split_pairs().items():
            for key, array in self.columns(pairs).items():
                yield f"{split}.{key}", array.reshape(-1)

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split, in two dimensions."""
        return {
            split: {
                key: streams[f"{split}.{key}"].reshape(shape)
                for key, shape in self.shapes.items()
            }
            for split in SPLITS
        }

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """Writes the test split as trivial predictors do, in the form of `targets`."""
        return {"majority": commonest_targets(data.splits["train"], self.vocab_size)}

    def as_targets(self, sequences: Sequence[Sequence[int]]) -> Int[np.ndarray, "n T"]:
        """Sequences in the form of `targets`; longer ones are cut off at T."""
        T = self.seq_len
        return padded([[*sequence, self.end][:T] for sequence in sequences], T)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes the exact match of trivial predictors on the test split."""
        test = data.splits["test"]
        return {
            name: scores(said, test)[self.metric.name]
            for name, said in self.guesses(data).items()
        }

    def text_baselines(self, data: Dataset) -> dict[str, dict[str, float]]:
        """Computes the scores of the texts that trivial predictors write."""
        test = data.splits["test"]
        true = [*map(self.text, test["targets"])]
        return {
            name: self.score_texts(
                [*map(self.text, np.broadcast_to(said, test["targets"].shape))], true
            )
            for name, said in self.guesses(data).items()
        }

    def score_texts(self, said: Sequence[str], true: Sequence[str]) -> dict[str, float]:
        """Scores of written texts, by name, each beside the true one."""
        return {"exact_match": float(np.mean([a == b for a, b in zip(said, true)]))}


@dataclass(frozen=True)
class BytePairs(Pairs):
    """The base of pair tasks whose symbols are the bytes of UTF-8."""

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    @property
    def num_symbols(self) -> int:
        """The number of bytes, 256."""
        return 256

    def symbol(self, token: int) -> str:
        """The character of a byte."""
        return Vocabulary().label(token)

    def spelled(self, symbols: Sequence[int]) -> str:
        """The text of some bytes; what is no UTF-8 becomes U+FFFD."""
        return bytes(symbols).decode(errors="replace")
