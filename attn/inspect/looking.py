"""Looks at the heads of a model on a text: what is asked for, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attn.errors import UserError, unknown
from attn.inspect.alignment import Known
from attn.inspect.date_alignment import date_alignment
from attn.inspect.heads import Head, Word, measure_heads, shares, weights_from
from attn.inspect.reader import Look, Reader, looks
from attn.inspect.word_alignment import word_alignment
from attn.plots.text_maps import Kind, LayerMap
from attn.tasks.alignments import Alignments
from attn.tasks.dates import Dates


@dataclass(frozen=True)
class Asked:
    """A request: texts, a word of theirs, and the head that is drawn in large."""

    text: str
    pair: str | None = None
    """The target of an encoder-decoder, or a second text."""
    word: str | None = None
    """The query word whose keys are listed."""
    layer: str | None = None
    """The layer of the head in large, as `cross 1`, or its number alone."""
    head: int | None = None


class Asking(NamedTuple):
    """The weights of the query word in the layers of one kind, on one text."""

    look: Look
    kind: Kind
    found: Word


@dataclass(frozen=True)
class Findings:
    """The maps and measures of one text, or of two."""

    looks: Sequence[Look]
    heads: Sequence[Sequence[Head]]
    """The heads of each look."""
    words: Sequence[Asking]
    known: Known | None
    """The alignment of the test split, where the run's task knows the true one."""
    chosen: tuple[str, int]
    """The layer and the head that are drawn in large."""


def find(reader: Reader, asked: Asked) -> Findings:
    """Computes the maps of the texts, and measures every head.

    Raises:
        UserError: a text, a word, a layer or a head cannot be looked at.
    """
    found = looks(reader, asked.text, asked.pair)
    return Findings(
        found,
        [measure_heads(look.layers) for look in found],
        _words(found, asked.word),
        _known(reader, found[0]),
        _chosen(found[0], asked),
    )


def _words(found: Sequence[Look], word: str | None) -> list[Asking]:
    """The weights of a word in each text that has it, by kind of layers."""
    if word is None:
        return []
    seen = [
        Asking(look, kind, weights_from(look.of(kind), word, rows))
        for look in found
        for kind, sentence in look.queries.items()
        if (rows := sentence.where(word)) and look.of(kind)
    ]
    if not seen:
        raise UserError(f"--from {word!r} is no word of the texts; name one of theirs")
    return seen


def _known(reader: Reader, look: Look) -> Known | None:
    if not look.of("cross"):
        return None
    if isinstance(reader.task, Dates):
        return date_alignment(reader, reader.task)
    if isinstance(reader.task, Alignments):
        return word_alignment(reader, reader.task)
    return None


def _chosen(look: Look, asked: Asked) -> tuple[str, int]:
    """The layer and head that are asked for, or of all those the most telling."""
    layers = look.of("cross") or list(look.layers)
    if asked.layer is not None:
        by_name = {layer.name: layer for layer in look.layers}
        number = asked.layer.isdigit()
        name = f"{layers[0].kind} {asked.layer}" if number else asked.layer
        if name not in by_name:
            raise unknown("--layer", name, by_name)
        layers = [by_name[name]]
    most = min(len(layer.values) for layer in layers) - 1
    if asked.head is not None and not 0 <= asked.head <= most:
        raise UserError(f"--head {asked.head}; the layer has heads 0 to {most}")
    every = [
        (layer, head)
        for layer in layers
        for head in range(len(layer.values))
        if asked.head in (None, head)
    ]
    layer, head = max(every, key=lambda pair: telling(*pair))
    return layer.name, head


def telling(layer: LayerMap, head: int) -> float:
    """The mean over queries of the largest share that says more than a position does.

    In self-attention the first key, the query's own and those beside it do not count:
    many heads look there whatever the text is.
    """
    far = shares(layer.values[head])
    T, S = far.shape
    if layer.kind != "cross":
        far[abs(np.arange(T)[:, None] - np.arange(S)) <= 1] = 0.0
        far[:, 0] = 0.0
    return float(far.max(axis=-1).mean())
