"""Greek verses to be written in English, word by word, with gold links of their words.

The New Testament of the package bible-alignments (Biblica; CC-BY-4.0): the Greek of SBLGNT
(CC-BY-4.0), the English of the Berean Standard Bible (public domain), and 115,008
alignments of words, made by hand: 189,927 links, of which 189,473 are within a verse.

A token is a word: of Greek its lemma, in lower case as English words are; punctuation
is left out. The `num_greek` and `num_english` commonest words of all verses have tokens
of their own, any other is `<rare>`: with the default sizes 4.1 % of Greek words and 5.6 %
of English ones. The split is by the hash of the Greek words.

The links are in no row, and nothing trains on them. `gold` has those of a split, to be
compared with the cross-attention of a trained model (`attn.tasks.word_links`).
"""

import csv
import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from attn.errors import UserError, require_positive
from attn.objectives import BITS_PER_TOKEN, SequenceToSequence
from attn.tasks.base import Dataset
from attn.tasks.packaged import Packaged
from attn.tasks.pairs import Pair, Pairs
from attn.tasks.text_pairs import target_ngrams
from attn.tasks.word_links import Links, alignment_error_rate, diagonal

GREEK = "data/sources/SBLGNT.tsv"
ENGLISH = "data/eng/targets/BSB/nt_BSB.tsv"
LINKS = "data/eng/alignments/BSB/SBLGNT-BSB-manual.json"
RARE = "<rare>"


class Verse(NamedTuple):
    """A verse in both languages, and the links of its words."""

    greek: tuple[str, ...]
    english: tuple[str, ...]
    links: Links


@dataclass(frozen=True)
class Alignments(Packaged, Pairs):
    """Write a Greek verse in English, word by word."""

    name = "alignments"
    package = "bible-alignments"
    objective = SequenceToSequence(BITS_PER_TOKEN)

    seq_len: int = 40
    """Words of the longest English verse and its end, T."""
    source_len: int = 32  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Words of the longest Greek verse, S."""
    num_greek: int = 2_048
    """Tokens of Greek, `<rare>` among them."""
    num_english: int = 2_048
    """Tokens of English, `<rare>` among them."""

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "num_greek", "num_english")

    @property
    def num_symbols(self) -> int:
        """The number of words of both languages."""
        return self.num_greek + self.num_english

    def symbol(self, token: int) -> str:
        """A word; those of Greek come first."""
        return self._words()[token]

    def spelled(self, symbols: Sequence[int]) -> str:
        """The words with blanks between."""
        return " ".join(map(self.symbol, symbols))

    def encode(self, text: str) -> list[int]:
        """The tokens of words, all Greek or all English; of what neither knows, `<rare>`.

        Raises:
            UserError: neither knows any of the words.
        """
        said = text.lower().split()
        for own in self._tokens():
            if any(word in own for word in said if word != RARE) or {*said} == {RARE}:
                return [own.get(word, own[RARE]) for word in said]
        raise UserError(
            f"{text!r} has no word that task {self.name!r} knows; write Greek as lemmas "
            "with their accents, as in 'ἐν ἀρχή εἰμί ὁ λόγος', or English"
        )

    def _tokens(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The token of every word of Greek, and of English."""
        words, first = self._words(), self.num_greek
        greek = {word: token for token, word in enumerate(words[:first])}
        return greek, {word: first + i for i, word in enumerate(words[first:])}

    def pairs(self) -> Sequence[Pair]:
        """The verses that both have, in the order of the Bible."""
        greek, english = self._tokens()
        return [
            Pair(
                [greek.get(word, greek[RARE]) for word in verse.greek],
                [english.get(word, english[RARE]) for word in verse.english],
                " ".join(verse.greek).encode(),
            )
            for verse in read(self.archive())
        ]

    def gold(self, split: str) -> list[Links]:
        """The gold links of a split's verses, in the order of its rows."""
        return [verse.links for verse in self.verses(split)]

    def verses(self, split: str) -> list[Verse]:
        """The verses of a split as words, in the order of its rows."""
        every = zip(self.pairs(), read(self.archive()))
        return [
            verse
            for pair, verse in every
            if self.fits(pair) and self.split_of(pair) == split
        ]

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits per word of n-grams of the English words, which read no Greek."""
        return target_ngrams(data, self.vocab_size)

    def link_baselines(self, split: str) -> dict[str, float]:
        """Computes alignment error rates of trivial links on the gold ones of a split."""
        found = self.verses(split)
        gold = [verse.links for verse in found]
        said = [diagonal(len(verse.greek), len(verse.english)) for verse in found]
        return {"diagonal": alignment_error_rate(gold, gold, said)}

    def _words(self) -> tuple[str, ...]:
        return words(self.archive(), self.num_greek, self.num_english)


@lru_cache(maxsize=4)
def words(path: Path, num_greek: int, num_english: int) -> tuple[str, ...]:
    """The word of every token: `<rare>` and others of Greek, then those of English."""
    found = read(path)
    return (
        *commonest((verse.greek for verse in found), num_greek),
        *commonest((verse.english for verse in found), num_english),
    )


def commonest(verses: Iterable[Sequence[str]], size: int) -> list[str]:
    """The commonest words of some verses after `<rare>`, which also fills what is left."""
    counts = Counter(word for verse in verses for word in verse)
    own = sorted(counts, key=lambda word: (-counts[word], word))[: size - 1]
    return [RARE] * (size - len(own)) + own


@lru_cache(maxsize=1)
def read(path: Path) -> tuple[Verse, ...]:
    """The verses that a package has in both languages, in order.

    Raises:
        UserError: it lacks a file.
    """
    with zipfile.ZipFile(path) as package:
        if missing := {GREEK, ENGLISH, LINKS} - {*package.namelist()}:
            raise UserError(f"{path} has no {min(missing)}; fetch it again")
        greek = _by_verse(
            (number.removeprefix("n"), lemma)
            for number, lemma in _table(package, GREEK, "id", "lemma")
        )
        columns = _table(package, ENGLISH, "id", "source_verse", "text", "exclude")
        english = _by_verse(
            (number, word)
            for number, verse, word, exclude in columns
            if exclude != "y" and number.startswith(verse)
        )
        records = json.loads(package.read(LINKS))["records"]
    links = defaultdict(set)
    for record in records:
        for a in record["source"]:
            for b in record["target"]:
                links[a.removeprefix("n")[:8]].add((a.removeprefix("n"), b))
    return tuple(
        _verse(greek[verse], english[verse], links[verse])
        for verse in sorted(greek.keys() & english.keys())
    )


def _table(
    package: zipfile.ZipFile, name: str, *columns: str
) -> Iterator[tuple[str, ...]]:
    """Yields some columns of a table whose first line has their names."""
    text = io.StringIO(package.read(name).decode())
    rows = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = next(rows)
    at = [names.index(column) for column in columns]
    for row in rows:
        yield tuple(row[i] for i in at)


def _by_verse(words: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Groups words by the first 8 digits of their numbers: book, chapter and verse."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for number, word in words:
        found[number[:8]][number] = word.lower()
    return found


def _verse(
    greek: Mapping[str, str], english: Mapping[str, str], links: set[tuple[str, str]]
) -> Verse:
    at, to = ({number: i for i, number in enumerate(own)} for own in (greek, english))
    kept = {(at[a], to[b]) for a, b in links if a in at and b in to}
    return Verse(tuple(greek.values()), tuple(english.values()), kept)
