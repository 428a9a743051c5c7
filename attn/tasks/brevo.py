"""Brevo: the ancestors of a node of a graph whose edges are shown in any order.

The rules are those of "Physics of Language Models: Part 4.1" (Allen-Zhu 2025, arXiv
2512.17351), read in `data-synthetic-pretrain/Brevo/brevo.py` of
facebookresearch/PhysicsLM4:

    tokens    2 0 3 1 2 1 0 1 ? 1 2 0 3     edges 2>0, 3>1, 2>1, 0>1; what has 1 before it?
    targets                       2 0 3 1   scored where the token before each is read

Nodes come one after the other: the first 1 .. (n - 1) // 4 + 1 have no parents,
each other has 1 .. 4 of the nodes before it, none of which has more than 4 children. The
last node is asked. All its ancestors and itself are said, each after its parents. Train
rows have 3 .. N nodes, n with a probability proportional to 1 / (n + sqrt(N)); valid and
test rows have N.

The published rule is one graph (`num_graphs` = 1). Its generator marks the first node that
is said for a check in training (`scored="first"`), and has a parser that judges whole
answers. The first node is guessed without the question: a node without parents is an
ancestor of the last one in 91 % of draws at N = 30, and in 79 % at N = 110 (of 3,000 and
1,500 of their graphs). Position by position, with what was said before it read, an order of
the whole graph is right in two thirds, too, though hardly ever as a whole. So here several
graphs share a row, their edges shuffled together, and one holds the node that is asked.

Departures: of the nodes that may come next, the one of the smallest name does (theirs: any
one, and all orders count as right), so that one position has one target, and "first"
trains on the first node alone; a name is one token (as in their Brevo1); the node that is
asked is where the first answer is said (theirs has a mark after it).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from attn.tasks.base import Dataset
from attn.tasks.depo import short_sizes
from attn.tasks.mqar import distinct
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import accuracy, fixed_place, majority

MOST = 4
"""The most parents, and the most children, of a node."""


@dataclass(frozen=True)
class Brevo(Synthetic):
    """Say all ancestors of a node, each after its parents."""

    name = "brevo"

    seq_len: int = 144
    num_graphs: int = 3
    """Graphs of a row, G; 1 is the published rule."""
    num_nodes: int = 8
    """Nodes of the largest graph, N."""
    scored: Literal["all", "first"] = "all"
    """Whether all nodes that are said are scored, or the first alone."""

    def __post_init__(self):
        super().__post_init__()
        known = self.scored in ("all", "first")
        require(self, "scored", known, "it must be 'all' or 'first'")
        require(self, "num_graphs", self.num_graphs >= 1, "it must be at least 1")
        require(self, "num_nodes", self.num_nodes >= 3, "it must be at least 3")
        least = 2 * self.most_edges + 1 + self.num_nodes
        words = f"it must be at least {least}, for edges, question and answers"
        require(self, "seq_len", self.seq_len >= least, words)

    @property
    def most_edges(self) -> int:
        """The largest number of edges of a row."""
        return self.num_graphs * sum(min(i, MOST) for i in range(self.num_nodes))

    @property
    def num_names(self) -> int:
        """The number of names, as many as there may be nodes, V."""
        return self.num_graphs * self.num_nodes

    @property
    def vocab_size(self) -> int:
        """The number of names, the filler and the question mark, in this order."""
        return self.num_names + 2

    @property
    def num_scored(self) -> int:
        """The number of nodes that are said, P; those an answer lacks weigh 0."""
        return 1 if self.scored == "first" else self.num_nodes

    def label(self, token: int) -> str:
        """A name's number, `_` for the filler, or `?`."""
        name = token - self.num_names
        return str(token) if name < 0 else "_?"[name]

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets, positions and weights [n, P]."""
        V = self.num_names
        parents, asked, among = self._graphs(rng, count, split)
        edges, shown = _shuffled(rng, parents, self.most_edges)
        text = np.full((count, self.seq_len + 1), V)
        real = np.arange(shown.shape[1]) < 2 * edges[:, None]
        text[:, : shown.shape[1]] = np.where(real, shown, V)
        begin = 2 * edges[:, None] + 2 + np.arange(self.num_nodes)
        np.put_along_axis(text, begin[:, :1] - 2, V + 1, axis=1)
        np.put_along_axis(text, begin[:, :1] - 1, asked[:, None], axis=1)
        np.put_along_axis(text, begin, self._answers(parents, among), axis=1)
        weights = np.arange(self.num_scored) < among.sum(axis=1, keepdims=True)
        rows = ask(text, begin[:, : self.num_scored])
        return rows | {"weights": weights.astype(np.float32)}

    def _graphs(
        self, rng: np.random.Generator, count: int, split: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws the parents of each name [n, V, V], the name asked, its ancestors [n, V]."""
        G, N = self.num_graphs, self.num_nodes
        sizes = short_sizes(rng, count * G, 3 if split == "train" else N, N)
        drawn = _parents(rng, sizes, N)
        found = _ancestors(drawn, sizes - 1).reshape(count, G, N)
        whole, among = (
            np.zeros((count, G, N, G, N), bool),
            np.zeros((count, G, N), bool),
        )
        for g, graph in enumerate(drawn.reshape(count, G, N, N).swapaxes(0, 1)):
            whole[:, g, :, g] = graph
        among[:, 0] = found[:, 0]
        names = distinct(rng, count, G * N, G * N)
        rows, node = np.arange(count)[:, None], np.argsort(names, axis=1)
        parents = whole.reshape(count, G * N, G * N)
        parents = parents[rows[..., None], node[:, :, None], node[:, None, :]]
        asked = names[rows[:, 0], sizes.reshape(count, G)[:, 0] - 1]
        return parents, asked, among.reshape(count, G * N)[rows, node]

    def _answers(
        self, parents: Bool[np.ndarray, "n V V"], among: Bool[np.ndarray, "n V"]
    ) -> Int[np.ndarray, "n N"]:
        """The names that are said, then filler."""
        said, found = np.zeros_like(among), []
        for _ in range(self.num_nodes):
            found.append(smallest_next(parents, among, said))
            _say(said, found[-1])
        return np.stack(found, axis=1)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact, of any name.

        `all_nodes` says an order of all graphs, whatever is asked: first the smallest name
        without parents, then, of what was not said, the smallest whose parents were.
        """
        test = data.splits["test"]
        parents, shown = self._read(test["tokens"])
        said, guess = np.zeros_like(shown), np.empty_like(test["targets"])
        for slot, target in enumerate(test["targets"].T):
            guess[:, slot] = smallest_next(parents, shown, said)
            _say(said, target)
        return {
            "chance": 1 / self.num_names,
            "majority": majority(data),
            "fixed_place": fixed_place(data),
            "all_nodes": accuracy(guess, test),
        }

    def _read(
        self, tokens: Int[np.ndarray, "n T"]
    ) -> tuple[Bool[np.ndarray, "n V V"], Bool[np.ndarray, "n V"]]:
        """The parents of each name that are shown, and the names that are."""
        V = self.num_names
        end = (tokens == V + 1).argmax(axis=1)
        parents = np.zeros((len(tokens), V, V), bool)
        for place in range(0, 2 * self.most_edges, 2):
            (row,) = np.nonzero(place < end)
            parents[row, tokens[row, place + 1], tokens[row, place]] = True
        shown = np.logical_or(parents.any(axis=1), parents.any(axis=2))
        return parents, np.asarray(shown)


def smallest_next(
    parents: Bool[np.ndarray, "n V V"],
    among: Bool[np.ndarray, "n V"],
    said: Bool[np.ndarray, "n V"],
) -> Int[np.ndarray, " n"]:
    """The smallest name not yet said whose parents all are; V where none is left."""
    ready = among & ~said & ~(parents & ~said[:, None, :]).any(axis=2)
    return np.where(ready.any(axis=1), ready.argmax(axis=1), ready.shape[1])


def _say(said: Bool[np.ndarray, "n V"], names: Int[np.ndarray, " n"]) -> None:
    """Marks one name of each row as said; the filler is none."""
    (row,) = np.nonzero(names < said.shape[1])
    said[row, names[row]] = True


def _shuffled(
    rng: np.random.Generator, parents: Bool[np.ndarray, "n V V"], most: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n L"]]:
    """The number of edges of each row, and they in any order: parent, child, parent, .."""
    n, V = parents.shape[:2]
    chance = np.where(parents, rng.random(parents.shape), 2)
    order = np.argsort(chance.reshape(n, -1), axis=1)[:, :most]
    shown = np.stack([order % V, order // V], axis=-1).reshape(n, -1)
    return parents.sum(axis=(1, 2)), shown


def _parents(
    rng: np.random.Generator, sizes: Int[np.ndarray, " n"], N: int
) -> Bool[np.ndarray, "n N N"]:
    """Draws the parents of each node, in the order in which the nodes come."""
    leaves = rng.integers(1, (sizes - 1) // 4 + 2)
    parents = np.zeros((len(sizes), N, N), bool)
    for i in range(1, N):
        free = parents.sum(axis=1) < MOST
        free &= np.arange(N) < i
        wanted = rng.integers(1, np.minimum(free.sum(axis=1), MOST) + 1)
        chance = np.where(free, rng.random(free.shape), 2)
        rank = np.argsort(np.argsort(chance, axis=1), axis=1)
        real = (leaves <= i) & (i < sizes)
        parents[:, i] = (rank < wanted[:, None]) & real[:, None]
    return parents


def _ancestors(
    parents: Bool[np.ndarray, "n N N"], asked: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n N"]:
    """The ancestors of one node of each row, and itself."""
    found = np.arange(parents.shape[1]) == asked[:, None]
    for i in reversed(range(parents.shape[1])):
        found |= found[:, i : i + 1] & parents[:, i]
    return found
