"""Masked bytes of Python's reference, or of its standard library, to be told.

BERT's data (Devlin et al. 2019, section 3.1 and appendix A.1) on bytes: of each window
15 % of the bytes are chosen; of these 80 % are shown as <mask>, 10 % as a byte drawn
uniformly and 10 % as they are. As in BERT's code, masks are drawn when rows are made, and
each training window is masked `repeats` times. Departures: bytes, for pieces of words; a
window's bytes are chosen one by one, exactly as many in each; no second sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from attn.errors import UserError, require_positive
from attn.objectives import BITS_PER_BYTE, Masked
from attn.tasks.base import SPLITS, Dataset, Rows, Streamed, require_seed, split_rng
from attn.tasks.corpora import CORPORA, Corpus, texts, version
from attn.tasks.ngrams import between_bits
from attn.tasks.synthetic import require
from attn.tasks.vocabulary import Vocabulary
from attn.tasks.windows import windows

MASK = 256
SHOWN_AS_MASK, SHOWN_AS_ANY = 0.8, 0.1


@dataclass(frozen=True)
class MaskedText(Streamed):
    """Tell the bytes of a text that were hidden from those on both sides."""

    name = "masked"
    version = "1.1.0"
    objective = Masked(BITS_PER_BYTE)

    seq_len: int = 256
    corpus: Corpus = "pydoc"
    share: float = 0.15
    """The share of bytes that are chosen."""
    repeats: int = 2
    """How often each training window is masked, each time anew."""
    data_seed: int = 0
    """Seed of what is hidden."""

    def __post_init__(self):
        super().__post_init__()
        require_seed(self)
        require_positive(self, "repeats")
        require(self, "corpus", self.corpus in CORPORA, "it must be pydoc or stdlib")
        require(self, "share", 0 < self.share < 1, "it must be above 0 and below 1")
        words = f"{self.share} of it is no byte; raise it, or the share"
        require(self, "seq_len", self.num_scored > 0, words)

    def label(self, token: int) -> str:
        """The character of a byte, or <mask>."""
        return "<mask>" if token == MASK else Vocabulary().label(token)

    def encode(self, text: str) -> list[int]:
        """The bytes of a text, and the token of each `<mask>`."""
        parts = [[*part.encode()] for part in text.split("<mask>")]
        return [*parts[0], *(x for part in parts[1:] for x in (MASK, *part))]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, as `encode` takes it."""
        parts = (b"<mask>" if token == MASK else bytes([token]) for token in tokens)
        return b"".join(parts).decode(errors="replace")

    @property
    def vocab_size(self) -> int:
        """The number of bytes and <mask>, 257."""
        return MASK + 1

    @property
    def num_scored(self) -> int:
        """The number of chosen bytes of a window, P."""
        return round(self.share * self.seq_len)

    @property
    def source(self) -> str:
        """The version of Python that the text belongs to."""
        return version()

    def parts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields tokens, targets and positions of each split, in one dimension."""
        for split in SPLITS:
            rng = split_rng(self.data_seed, split)
            whole = self._windows(split)
            for _ in range(self.repeats if split == "train" else 1):
                for key, array in self.hidden(rng, whole).items():
                    yield f"{split}.{key}", array.reshape(-1)

    def _windows(self, split: str) -> np.ndarray:
        """The windows of a split; those of train overlap by half."""
        T, text = self.seq_len, np.frombuffer(texts(self.corpus)[split], np.uint8)
        if len(text) <= T:
            raise UserError(
                f"MaskedText.seq_len = {T}; the {split} split of {self.corpus} has "
                f"{len(text):,} bytes; lower it"
            )
        step = max(1, T // 2) if split == "train" else T
        return windows(text, T, step)["tokens"]

    def hidden(
        self, rng: np.random.Generator, whole: Integer[np.ndarray, "n T"]
    ) -> Rows:
        """Chooses bytes of each row, and shows most of them as <mask>."""
        chosen = np.argsort(rng.random(whole.shape), axis=1)[:, : self.num_scored]
        positions = np.sort(chosen, axis=1)
        targets = np.take_along_axis(whole, positions, axis=1).astype(np.uint16)
        kind = rng.random(positions.shape)
        other = rng.integers(0, 256, positions.shape, np.uint16)
        said = np.where(kind < SHOWN_AS_MASK + SHOWN_AS_ANY, other, targets)
        tokens = whole.astype(np.uint16)
        shown = np.where(kind < SHOWN_AS_MASK, np.uint16(MASK), said)
        np.put_along_axis(tokens, positions, shown, axis=1)
        places = positions.astype(np.uint16 if self.seq_len <= 2**16 else np.int32)
        return {"tokens": tokens, "targets": targets, "positions": places}

    def cut(self, streams: Mapping[str, np.ndarray]) -> Mapping[str, Rows]:
        """The rows of each split, in two dimensions."""
        T, P = self.seq_len, self.num_scored
        wide = {"tokens": T, "targets": P, "positions": P}
        return {
            split: {k: streams[f"{split}.{k}"].reshape(-1, n) for k, n in wide.items()}
            for split in SPLITS
        }

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits of a hidden test byte; `ngram` sees up to two bytes a side.

        It is the order that does best on valid.
        """
        train = np.frombuffer(texts(self.corpus)["train"], np.uint8)
        valid, test = (
            between_bits(train, data.splits[s], self.vocab_size)
            for s in ("valid", "test")
        )
        return {
            "uniform": float(np.log2(self.vocab_size)),
            "unigram": test[1],
            "ngram": test[min(valid, key=valid.__getitem__)],
        }
