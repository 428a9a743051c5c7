"""Word problems of groups: the product of all elements so far.

The rules are those of "The Illusion of State" (Merrill et al. 2024, arXiv 2404.08819),
read in `src/generate_data.py` of jopetty/word-problem, which DeltaProduct's experiments
(automl/DeltaProduct) use with S3, 128 elements in training and 512 in tests:

    tokens    x1  x2     x3          elements, all equally likely
    targets   x1  x1 x2  x1 x2 x3    scored at every position

Permutations multiply as p q = p[q[i]], and are numbered in the order of their words, the
identity first. Parity is Z2 (Grazzi et al. 2025, arXiv 2411.12537, ask for it at the end
alone). S5 and A5 are not solvable, so that their word problems are complete for NC1
(Barrington 1989).

Departures: only rows of the full length, where jopetty trains on shorter ones too; rows
may repeat, where few are possible.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from jaxtyping import Int

from attn.objectives import NextToken
from attn.tasks.base import Dataset
from attn.tasks.synthetic import Synthetic, require
from attn.tasks.trivial import accuracy

LARGEST = {"z": 512, "s": 5, "a": 5}
"""The largest n of each family: cyclic, symmetric and alternating groups."""


@dataclass(frozen=True)
class WordProblem(Synthetic):
    """Say the product of all group elements so far."""

    name = "word_problem"
    objective = NextToken(scored="all")

    seq_len: int = 128
    group: str = "s3"
    """parity, z2 .. z512, s3 .. s5, or a3 .. a5."""

    def __post_init__(self):
        super().__post_init__()
        family, n = self._family_and_degree
        least = 2 if family == "z" else 3
        known = least <= n <= LARGEST.get(family, 0)
        words = "it must be parity, z2 .. z512, s3 .. s5, or a3 .. a5"
        require(self, "group", known, words)

    @property
    def _family_and_degree(self) -> tuple[str, int]:
        """The letter and the number of a group's name; (name, 0) where it has none."""
        if self.group == "parity":
            return "z", 2
        family, degree = self.group[:1], self.group[1:]
        plain = degree.isascii() and degree.isdecimal() and len(degree) < 5
        return family, int(degree) if plain and not degree.startswith("0") else 0

    @property
    def vocab_size(self) -> int:
        """The order of the group."""
        return len(self.table)

    @property
    def table(self) -> Int[np.ndarray, "G G"]:
        """The products of all pairs of elements; 0 is the identity."""
        return _table(*self._family_and_degree)

    def label(self, token: int) -> str:
        """A permutation's word, as in `102`; the number of a cyclic group's element."""
        family, n = self._family_and_degree
        return (
            str(token) if family == "z" else "".join(map(str, _words(family, n)[token]))
        )

    def draw(self, rng, count, split):
        """Draws tokens and targets, both [n, T]."""
        tokens = rng.integers(0, self.vocab_size, (count, self.seq_len))
        targets, product = np.empty_like(tokens), np.zeros(count, np.int64)
        table = self.table
        for t in range(self.seq_len):
            product = targets[:, t] = table[product, tokens[:, t]]
        return {"tokens": tokens, "targets": targets}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` and `bag` are exact.

        `last_two` multiplies the last two elements, as a window would. `bag` knows how
        often each element came and not in which order, in long rows: it is sure of a
        product up to the commutators, and so of all of it in Abelian groups.
        """
        test = data.splits["test"]
        before, tokens = test["tokens"][:, :-1], test["tokens"]
        pairs = self.table[before, tokens[:, 1:]]
        return {
            "chance": 1 / self.vocab_size,
            "bag": 1 / _num_commutators(self.table),
            "last_token": accuracy(tokens, test),
            "last_two": accuracy(np.hstack([tokens[:, :1], pairs]), test),
        }


@lru_cache(maxsize=8)
def _words(family: str, n: int) -> Int[np.ndarray, "G n"]:
    """The permutations of S_n or A_n in the order of their words."""
    words = np.array(list(permutations(range(n))))
    if family == "s":
        return words
    upper = np.triu_indices(n, 1)
    inversions = (words[:, upper[0]] > words[:, upper[1]]).sum(axis=1)
    return words[inversions % 2 == 0]


@lru_cache(maxsize=8)
def _table(family: str, n: int) -> Int[np.ndarray, "G G"]:
    """The products of all pairs of elements of a group."""
    if family == "z":
        return np.add.outer(np.arange(n), np.arange(n)) % n
    words = _words(family, n)
    digits = n ** np.arange(n - 1, -1, -1)
    return np.searchsorted(words @ digits, words[:, words] @ digits)


def _num_commutators(table: Int[np.ndarray, "G G"]) -> int:
    """The order of the subgroup that the commutators a b a' b' generate."""
    inverse = (table == 0).argmax(axis=1)
    members = np.unique(table[table, table[np.ix_(inverse, inverse)]])
    while len(more := np.unique(table[np.ix_(members, members)])) > len(members):
        members = more
    return len(members)
