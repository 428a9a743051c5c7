"""Alignment: which source tokens cross-attention looks at as each target is written.

Bahdanau et al. (2015), section 5.2.1, read the alignment of a translation off the
weights of its attention. For dates the true one is known: the source says in which
characters the year, the month and the day stand (`Dates.parts`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from attn.inspect.heads import number, shares
from attn.inspect.reader import Reader, counted
from attn.kernels import TokenInfo
from attn.model.maps import compute_maps
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.text_maps import LayerMap
from attn.tasks.dates import Dates
from attn.tasks.targets import padded

ROWS = 256
"""Test rows on which the alignment of dates is measured."""
PARTS: Mapping[str, range] = {
    "year": range(4),
    "month": range(5, 7),
    "day": range(8, 10),
}
"""The positions of each part in a target, as in 1994-03-02."""


def mean_map(layers: Sequence[LayerMap]) -> Float[np.ndarray, "T S"]:
    """The mean over all heads of some layers, each row divided by its sum."""
    return np.mean([shares(layer.values).mean(axis=0) for layer in layers], axis=0)


def aligned(weights: Float[np.ndarray, "*N T S"]) -> Int[np.ndarray, "*N T"]:
    """The source position with the largest weight of each target position."""
    return weights.argmax(axis=-1)


def diagonal(T: int, S: int) -> Int[np.ndarray, " T"]:
    """The source position as far along S tokens as each target is along T."""
    return np.rint(np.arange(T) * (S - 1) / max(T - 1, 1)).astype(int)


def share_on(
    positions: Int[np.ndarray, "n T"], said: Bool[np.ndarray, "n T S"]
) -> float:
    """The share of target positions whose source position is one that says them.

    Args:
        said: whether a source position says a target position; target positions that
            none says are not counted.
    """
    hit = np.take_along_axis(said, positions[..., None], axis=-1)
    return float(hit.sum() / said.any(axis=-1).sum())


@dataclass(frozen=True)
class Aligned:
    """The shares of the positions of each part of a date that are looked at rightly."""

    what: str
    """A layer's head, the mean of heads, or a baseline."""
    shares: Mapping[str, float]


def date_alignment(reader: Reader, task: Dates, rows: int = ROWS) -> list[Aligned]:
    """Measures cross-attention on the first rows of the test split.

    Of every head, and of the mean over heads; beside the diagonal, and the mean share of
    source characters that say a part, which is what looking anywhere would give.
    """
    from attn.data.build import prepare

    test = {key: x[:rows] for key, x in prepare(task).splits["test"].items()}
    said = {part: marked(task, test, part) for part in PARTS}
    found = dict(_positions(_cross_maps(reader, test)))
    lengths = zip(test["lengths"], test["source_lengths"])
    T = test["tokens"].shape[1]
    found["diagonal"] = padded([diagonal(t, s).tolist() for t, s in lengths], T)
    measured = [
        Aligned(what, {part: share_on(at, said[part]) for part in PARTS})
        for what, at in found.items()
    ]
    return [*measured, Aligned("anywhere", _anywhere(said, test["source_lengths"]))]


def _anywhere(
    said: Mapping[str, Bool[np.ndarray, "n T S"]], lengths: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """The share of positions that a random source position would say."""
    return {
        part: float((at.sum(axis=-1) / lengths[:, None])[at.any(axis=-1)].mean())
        for part, at in said.items()
    }


def _positions(
    maps: Mapping[str, Float[np.ndarray, "n N T S"]],
) -> Iterator[tuple[str, Int[np.ndarray, "n T"]]]:
    """The alignment of every head, of each layer's mean and of the mean of all."""
    means = {name: shares(values).mean(axis=1) for name, values in maps.items()}
    for name, values in maps.items():
        for head in range(values.shape[1]):
            yield f"{name}, head {head}", aligned(values[:, head])
        yield f"{name}, mean of its heads", aligned(means[name])
    yield "mean of all heads", aligned(np.mean(list(means.values()), axis=0))


def marked(
    task: Dates, rows: Mapping[str, np.ndarray], part: str
) -> Bool[np.ndarray, "n T S"]:
    """Whether a source position says a target position of a part of the date."""
    n, T = rows["targets"].shape
    said = np.zeros((n, T, rows["source"].shape[1]), bool)
    for i, (source, length) in enumerate(zip(rows["source"], rows["source_lengths"])):
        text = task.decode(source[:length].tolist())
        start, stop = task.said_at(text, task.text(rows["targets"][i]))[part]
        said[i, list(PARTS[part]), start:stop] = True
    return said


def _cross_maps(
    reader: Reader, rows: Mapping[str, np.ndarray]
) -> dict[str, Float[np.ndarray, "n N T S"]]:
    """The maps of cross-attention on rows of the task."""
    batch = {key: jnp.asarray(x, jnp.int32) for key, x in rows.items()}
    found = compute_maps(
        reader.model,
        batch["tokens"],
        TokenInfo(lengths=batch["lengths"]),
        source=batch["source"],
        source_info=TokenInfo(lengths=batch["source_lengths"]),
    )
    return {
        f"cross {own.number}": found[name]
        for name, own in counted(reader.model).items()
        if own.kind == "cross" and name in found
    }


def alignment_table(layers: Sequence[LayerMap]) -> Table:
    """The table of one text: the source token that each target token looks at most."""
    mean, each = mean_map(layers), [aligned(layer.values) for layer in layers]
    heads = np.concatenate(each)
    rows = []
    for t, s in enumerate(aligned(mean)):
        agree = int((heads[:, t] == s).sum())
        cells = (
            Cell(layers[0].queries[t]),
            Cell(layers[0].keys[s]),
            Cell(str(s), int(s)),
            number(float(mean[t, s])),
            Cell(f"{agree} of {len(heads)}", agree),
        )
        rows.append(Row(cells))
    columns = (
        Column("target", text=True),
        Column("source", text=True),
        Column("position"),
        Column("mean weight"),
        Column("heads that agree"),
    )
    return Table("Alignment: mean of all heads", columns, tuple(rows))


def aligned_table(found: Sequence[Aligned]) -> Table:
    """The table of the shares of a date's positions that are looked at rightly."""
    rows = tuple(
        Row(
            (Cell(one.what), *(number(one.shares[part]) for part in PARTS)),
            "baseline" if one.what in ("diagonal", "anywhere") else "run",
        )
        for one in found
    )
    columns = (Column("largest weight of", text=True), *map(Column, PARTS))
    note = (
        "The share of target positions whose largest weight falls on the characters of "
        "the source that say them, on the first rows of the test split."
    )
    return Table("Alignment of dates", columns, rows, note)
