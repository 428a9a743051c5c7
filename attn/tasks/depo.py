"""Depo: the k-th successor on a directed cycle whose edges are shown in any order.

The rules are those of "Physics of Language Models: Part 4.1" (Allen-Zhu 2025, arXiv
2512.17351), read in `data-synthetic-pretrain/Depo/depo.py` of facebookresearch/PhysicsLM4:

    tokens    5 9 2 5 9 2 | k2 5 2 | k1 9 2       edges 5>9, 2>5, 9>2, then questions
    targets                    2        2         scored where the node that is asked is

The nodes that are asked are different, k is 1 .. K, all equally likely, and each answer is
read before the next question (the bars are not tokens). Train rows have cycles of 3 .. N
nodes, n with a probability proportional to 1 / (n + sqrt(N)), and no more questions than
nodes; valid and test rows have N.

Departures: a name is one token, drawn for each row (theirs are words of several); the
node that is asked is where the answer is said (theirs has a mark after it); k is drawn in
the same way in tests (theirs: powers of two).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Dataset
from attn.tasks.mqar import distinct
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import accuracy, fixed_place, last_read


@dataclass(frozen=True)
class Depo(Synthetic):
    """Say the k-th successor of a node of a cycle."""

    name = "depo"
    version = "1.1.0"

    seq_len: int = 64
    num_nodes: int = 16
    """Nodes of the longest cycle, N."""
    min_nodes: int = 3
    """Nodes of the shortest cycle of the train split."""
    num_queries: int = 10
    """Questions a row, P."""
    max_hops: int = 4
    """The largest k, K."""
    num_names: int = 50
    """Names that nodes may have."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "max_hops", self.max_hops >= 1, "it must be at least 1")
        require(self, "num_nodes", self.num_nodes >= 2, "it must be at least 2")
        words = f"it must be 2 .. num_nodes = {self.num_nodes}"
        require(self, "min_nodes", 2 <= self.min_nodes <= self.num_nodes, words)
        words = f"it must be 1 .. num_nodes = {self.num_nodes}"
        require(self, "num_queries", 1 <= self.num_queries <= self.num_nodes, words)
        words = f"it must be at least num_nodes = {self.num_nodes}"
        require(self, "num_names", self.num_names >= self.num_nodes, words)
        least = 2 * self.num_nodes + 3 * self.num_queries - 1
        words = f"it must be at least {least}, for edges and questions"
        require(self, "seq_len", self.seq_len >= least, words)

    @property
    def vocab_size(self) -> int:
        """The number of names, the filler, and the values of k, in this order."""
        return self.num_names + 1 + self.max_hops

    @property
    def num_scored(self) -> int:
        """The number of questions; those that a short cycle lacks weigh 0."""
        return self.num_queries

    def label(self, token: int) -> str:
        """A name's number, `k` and a number of hops, or `_` for the filler."""
        hops = token - self.num_names
        return str(token) if hops < 0 else f"k{hops}" if hops else "_"

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets, positions and weights [n, P]."""
        least = self.min_nodes if split == "train" else self.num_nodes
        sizes = short_sizes(rng, count, least, self.num_nodes)[:, None]
        names = distinct(rng, count, self.num_nodes, self.num_names)
        text = np.full((count, self.seq_len + 1), self.num_names)
        edges = _shuffled(rng, sizes, self.num_nodes)
        shown = np.stack([_name(names, edges), _name(names, (edges + 1) % sizes)], -1)
        width = 2 * self.num_nodes
        real = np.arange(width) < 2 * sizes
        text[:, :width] = np.where(real, shown.reshape(count, -1), self.num_names)

        asked = np.arange(self.num_queries) < sizes
        at = 2 * sizes + 3 * np.arange(self.num_queries)
        for i, part in enumerate(self._questions(rng, names, sizes)):
            part = np.where(asked, part, self.num_names)
            np.put_along_axis(text, at + i, part, axis=1)
        return ask(text, at + 2) | {"weights": asked.astype(np.float32)}

    def _questions(
        self,
        rng: np.random.Generator,
        names: Int[np.ndarray, "n N"],
        sizes: Int[np.ndarray, "n 1"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws k, the node that is asked and the answer of each question, [n, P]."""
        nodes = _shuffled(rng, sizes, self.num_nodes)[:, : self.num_queries]
        hops = rng.integers(1, self.max_hops + 1, nodes.shape)
        answers = _name(names, (nodes + hops) % sizes)
        return self.num_names + hops, _name(names, nodes), answers

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact, of any node of the cycle.

        `one_hop` says the direct successor, whatever k is.
        """
        test = data.splits["test"]
        width = 2 * self.num_nodes
        heads, tails = test["tokens"][:, 0:width:2], test["tokens"][:, 1:width:2]
        edge = (last_read(test)[:, :, None] == heads[:, None]).argmax(axis=-1)
        return {
            "chance": 1 / self.num_nodes,
            "one_hop": accuracy(np.take_along_axis(tails, edge, axis=1), test),
            "fixed_place": fixed_place(data),
        }


def short_sizes(
    rng: np.random.Generator, count: int, least: int, most: int
) -> Int[np.ndarray, "{count}"]:
    """Draws the number of nodes of each graph, n; the smaller, the likelier."""
    if least == most:
        return np.full(count, most)
    sizes = np.arange(least, most + 1)
    chances = 1 / (sizes + np.sqrt(most))
    return rng.choice(sizes, count, p=chances / chances.sum())


def _name(names: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    return np.take_along_axis(names, nodes, axis=1)


def _shuffled(
    rng: np.random.Generator, sizes: Int[np.ndarray, "n 1"], N: int
) -> Int[np.ndarray, "n N"]:
    """Draws the nodes 0 .. n - 1 of each row in a random order, then the other numbers."""
    chance = rng.random((len(sizes), N))
    return np.argsort(np.where(np.arange(N) < sizes, chance, 1 + np.arange(N)), axis=1)
