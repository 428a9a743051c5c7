"""Measures of a head's map: how flat it is, and where its weight lies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.text_maps import LayerMap
from attn.plots.units import NONE

SHOWN = 3
"""Keys of a head that the table of a word names."""


@dataclass(frozen=True)
class Head:
    """The measures of one head on one text; shares are means over its queries.

    In self-attention the first query is left out: where the model is causal it sees
    itself alone. Weights below 0, which some mechanisms have, count by magnitude, and
    every row is divided by its sum.
    """

    layer: str
    head: int
    entropy: float
    """Bits; the logarithm of so many equally seen keys."""
    first: float
    """The share of the first key."""
    itself: float | None
    """The share of the query's own token; None in cross-attention, like the next."""
    previous: float | None
    """The share of the token before."""
    largest: float
    """The share of the key that a query sees most, whichever it is."""
    key: str
    """The key with the largest share over all queries."""
    share: float
    """The share of that key."""


def shares(values: Float[np.ndarray, "*N T S"]) -> Float[np.ndarray, "*N T S"]:
    """The magnitudes of weights, each divided by the sum of its row."""
    sizes = np.abs(values).astype(np.float64)
    return sizes / np.maximum(sizes.sum(axis=-1, keepdims=True), 1e-30)


def entropy(p: Float[np.ndarray, "*N T S"]) -> Float[np.ndarray, "*N T"]:
    """The entropy of each row in bits."""
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)


def measure_heads(layers: Sequence[LayerMap]) -> list[Head]:
    """Measures every head of some layers."""
    return [
        _measure(layer, head) for layer in layers for head in range(len(layer.values))
    ]


def _measure(layer: LayerMap, head: int) -> Head:
    values, crosses = layer.values[head], layer.kind == "cross"
    p = shares(values)
    p = p if crosses or len(p) == 1 else p[1:]
    # Row t of what is left is query t + 1 of the sequence.
    own = None if crosses else float(np.diagonal(p, len(values) - len(p)).mean())
    before = None if crosses else float(np.diagonal(p).mean())
    seen = p.mean(axis=0)
    most = int(seen.argmax())
    return Head(
        layer.name,
        head,
        float(entropy(p).mean()),
        float(seen[0]),
        own,
        before,
        float(p.max(axis=-1).mean()),
        layer.keys[most],
        float(seen[most]),
    )


def heads_table(heads: Sequence[Head]) -> Table:
    """The table of heads, a row each."""
    columns = (
        Column("layer", text=True),
        Column("head"),
        Column("entropy, bits"),
        *map(Column, ("first", "itself", "previous", "largest")),
        Column("most seen key", text=True),
        Column("its share"),
    )
    rows = [
        Row(
            (
                Cell(head.layer),
                Cell(str(head.head), head.head),
                number(head.entropy, 2),
                number(head.first),
                number(head.itself),
                number(head.previous),
                number(head.largest),
                Cell(head.key),
                number(head.share),
            )
        )
        for head in heads
    ]
    return Table("Heads", columns, tuple(rows))


def number(value: float | None, digits: int = 3) -> Cell:
    """A cell with a number."""
    return Cell(NONE) if value is None else Cell(f"{value:.{digits}f}", value)


@dataclass(frozen=True)
class Word:
    """The weights of one query word in every head of some layers."""

    word: str
    keys: tuple[str, ...]
    layers: tuple[str, ...]
    weights: Float[np.ndarray, "layers N S"]
    """The mean over the tokens of the word."""

    @property
    def visible(self) -> int:
        """The number of keys that some head sees."""
        return int((self.weights > 0).any(axis=(0, 1)).sum())

    @property
    def mean(self) -> Float[np.ndarray, " S"]:
        """The mean over heads and layers."""
        return self.weights.mean(axis=(0, 1))


def weights_from(layers: Sequence[LayerMap], word: str, rows: Sequence[int]) -> Word:
    """The weights of the queries at some rows, in all heads of layers of one kind."""
    values = [shares(layer.values)[:, list(rows)].mean(axis=1) for layer in layers]
    names = tuple(layer.name for layer in layers)
    return Word(word, layers[0].keys, names, np.stack(values))


def word_table(found: Word) -> Table:
    """The table of keys: their mean weight, and in how many heads they are first."""
    N, top = found.weights.shape[1], found.weights.argmax(axis=-1)
    columns = (
        Column("key", text=True),
        Column("position"),
        Column("mean weight"),
        Column("heads where largest"),
        Column("largest weight"),
        Column("in", text=True),
    )
    rows = []
    for s in np.argsort(-found.mean, kind="stable")[: found.visible]:
        at = int(found.weights[..., s].argmax())
        layer, head = found.layers[at // N], at % N
        cells = (
            Cell(found.keys[s]),
            Cell(str(s), int(s)),
            number(float(found.mean[s])),
            Cell(str(int((top == s).sum())), int((top == s).sum())),
            number(float(found.weights[..., s].max())),
            Cell(f"{layer}, head {head}"),
        )
        rows.append(Row(cells))
    note = (
        f"{top.size} heads; a head that saw all {found.visible} keys alike would give "
        f"each {1 / found.visible:.3f}."
    )
    return Table(f"Where {found.word!r} looks, all heads", columns, tuple(rows), note)


def word_heads_table(found: Word) -> Table:
    """The table of heads: the keys with the largest weights of the word in each."""
    columns = [Column("layer", text=True), Column("head")]
    for i in range(min(SHOWN, len(found.keys))):
        columns += [Column(f"key {i + 1}", text=True), Column(f"weight {i + 1}")]
    rows = []
    for layer, heads in zip(found.layers, found.weights):
        for head, weights in enumerate(heads):
            cells = [Cell(layer), Cell(str(head), head)]
            for s in np.argsort(-weights, kind="stable")[:SHOWN]:
                cells += [Cell(found.keys[s]), number(float(weights[s]))]
            rows.append(Row(tuple(cells)))
    title = f"Where {found.word!r} looks, head by head"
    return Table(title, tuple(columns), tuple(rows))
