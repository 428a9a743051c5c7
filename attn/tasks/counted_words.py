"""Counted words: a shuffled list in which some words come more often, and which they are.

The rules are those of RULER (Hsieh et al. 2024, arXiv 2404.06654), read in
`scripts/data/synthetic/` of NVIDIA/RULER, `common_words_extraction.py` and
`freq_words_extraction.py`:

    tokens   c a b a d b a b | a b     the list, the bar, all answers but the last
    targets                  a b       scored where the token before each is read

RULER shuffles the list of every sample with a generator of the same seed
(`random.Random(args.random_seed)`), so that the answers stand at the same places of all
lists of one length: `shuffle="once"`. The default shuffles each list by itself.

Departures, of both: a word is one token (tokenisation is not what is measured), and
lists have no numbers, no instructions and no solved example before them. RULER asks for a
set and counts what is in it; here the order of the answers is part of the rule, and the
answers before are read, so that one position has one target.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from attn.tasks.base import SPLITS, Dataset
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import fixed_place, majority, nth_new


@dataclass(frozen=True)
class CountedWords(Synthetic):
    """The base of tasks that ask which words of a list come most often."""

    seq_len: int = 128
    num_words: int = 128
    """Words that lists are made of."""
    num_answers: int = 5
    """Words that are asked, P."""
    shuffle: Literal["each", "once"] = "each"
    """Whether each list is shuffled by itself, or all in one way (the published rule)."""

    def __post_init__(self):
        super().__post_init__()
        known = self.shuffle in ("each", "once")
        require(self, "shuffle", known, "it must be 'each' or 'once'")
        require(self, "num_answers", self.num_answers >= 1, "it must be at least 1")

    @property
    def vocab_size(self) -> int:
        """The number of words, and the bar."""
        return self.num_words + 1

    @property
    def num_scored(self) -> int:
        """The number of words that are asked."""
        return self.num_answers

    @property
    def list_len(self) -> int:
        """Tokens of the list, S; the bar and all answers but the last are read, too."""
        return self.seq_len - self.num_answers

    def label(self, token: int) -> str:
        """A number for a word, `|` for the bar."""
        return "|" if token == self.num_words else str(token)

    def counts(self) -> list[int]:
        """The times that each word of a list comes in it, the commonest first."""
        raise NotImplementedError

    def ranked(
        self, rng: np.random.Generator, count: int
    ) -> Int[np.ndarray, "{count} L"]:
        """Draws the words of each list, one for each of `counts`."""
        return _words(rng, count, len(self.counts()), self.num_words)

    def answers(
        self, listed: Int[np.ndarray, "n S"], words: Int[np.ndarray, "n L"]
    ) -> Int[np.ndarray, "n P"]:
        """The words that are asked, in the order in which they are said."""
        raise NotImplementedError

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets and positions [n, P]."""
        words = self.ranked(rng, count)
        ranks = np.repeat(np.arange(words.shape[1]), self.counts())
        if self.shuffle == "once":
            once = np.random.default_rng([self.data_seed, len(SPLITS)])
            ranks = np.tile(once.permutation(ranks), (count, 1))
        else:
            ranks = rng.permuted(np.tile(ranks, (count, 1)), axis=1)
        listed = np.take_along_axis(words, ranks, axis=1)
        bar = np.full((count, 1), self.num_words)
        text = np.hstack([listed, bar, self.answers(listed, words)])
        return ask(text, self.list_len + 1 + np.arange(self.num_answers)[None])

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact, of any word of the list.

        `nth_new` says for its n-th answer always the word that is the m-th to appear.
        """
        return {
            "chance": 1 / len(self.counts()),
            "majority": majority(data),
            "fixed_place": fixed_place(data),
            "nth_new": nth_new(data),
        }


@dataclass(frozen=True)
class CommonWords(CountedWords):
    """Say the words that come more often than the others, in the order they appear.

    RULER's CWE: ten words come 30 times and the others 3 times; in prompts below 4,096
    tokens 6 times and once, as here, of five words. What room is left is one more word,
    shown less often.
    """

    name = "common_words"

    repeats: int = 6
    """The times that a word that is asked comes."""
    other_repeats: int = 1
    """The times that another word comes."""

    def __post_init__(self):
        super().__post_init__()
        words = "it must be at least 1"
        require(self, "other_repeats", self.other_repeats >= 1, words)
        words = f"it must be above other_repeats = {self.other_repeats}"
        require(self, "repeats", self.repeats > self.other_repeats, words)
        least = self.num_answers * (self.repeats + 1)
        words = f"it must be at least {least}, for the words that are asked"
        require(self, "seq_len", self.seq_len >= least, words)
        words = f"it must be at least {len(self.counts())}, for a list of seq_len = {self.seq_len}"
        require(self, "num_words", self.num_words >= len(self.counts()), words)

    def counts(self):
        """The times that each word comes: those that are asked, then the others."""
        room = self.list_len - self.num_answers * self.repeats
        others, left = divmod(room, self.other_repeats)
        counts = [self.repeats] * self.num_answers + [self.other_repeats] * others
        return [*counts, left] if left else counts

    def answers(self, listed, words):
        """The common words of each list, the first to appear first."""
        common = words[:, : self.num_answers]
        places = (listed[:, None, :] == common[:, :, None]).argmax(axis=-1)
        return np.take_along_axis(common, np.argsort(places, axis=1), axis=1)

    def baselines(self, data):
        """Computes test accuracies; `bag` is exact, of a word in the set not yet said."""
        left = np.arange(self.num_answers, 0, -1)
        return super().baselines(data) | {"bag": float(np.mean(1 / left))}


@dataclass(frozen=True)
class FrequentWords(CountedWords):
    """Say the most frequent words of a list by Zipf's law, the commonest first.

    RULER's FWE: the word of rank k comes s / k^alpha times, rounded down, and that of rank
    1 is the same noise ("...") in every list; what room is left is noise, too. To count is
    enough: a head that attends to all words alike can answer.
    """

    name = "frequent_words"

    num_answers: int = 3
    alpha: float = 2.0
    """The exponent of Zipf's law."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "alpha", self.alpha > 0, "it must be above 0")
        words = f"it must be at least num_answers = {self.num_answers}"
        require(self, "num_words", self.num_words >= self.num_answers, words)
        ranks = [*self.counts(), 0][1 : self.num_answers + 2]
        words = f"it is too short for counts that differ at alpha = {self.alpha}"
        apart = len(set(ranks)) == self.num_answers + 1
        require(self, "seq_len", apart, f"{words}; make it longer, or alpha larger")

    @property
    def vocab_size(self) -> int:
        """The number of words, the bar and the noise."""
        return self.num_words + 2

    def label(self, token: int) -> str:
        """A number for a word, `|` for the bar, `.` for noise."""
        return "." if token == self.num_words + 1 else super().label(token)

    def counts(self):
        """The times that noise and each word come, as far as a word comes at all."""
        shares = np.arange(1.0, self.num_words + 2) ** -self.alpha
        scale = max(self.list_len, 0)
        while np.floor(scale * shares).sum() > self.list_len:
            scale -= 1
        counts = [int(n) for n in np.floor(scale * shares) if n]
        return [counts[0] + self.list_len - sum(counts), *counts[1:]] if counts else []

    def ranked(self, rng, count):
        """Draws the words of each list, noise before all."""
        words = _words(rng, count, len(self.counts()) - 1, self.num_words)
        return np.hstack([np.full((count, 1), self.num_words + 1), words])

    def answers(self, listed, words):
        """The words after noise in rank."""
        return words[:, 1 : self.num_answers + 1]


def _words(
    rng: np.random.Generator, rows: int, count: int, limit: int
) -> Int[np.ndarray, "{rows} {count}"]:
    """Draws distinct words below `limit`; faster than `distinct` where most are drawn."""
    return rng.permuted(np.tile(np.arange(limit), (rows, 1)), axis=1)[:, :count]
