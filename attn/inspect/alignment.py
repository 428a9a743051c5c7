"""Alignment: which source tokens cross-attention looks at as each target is written.

Bahdanau et al. (2015), section 5.2.1, read the alignment of a translation off the
weights of its attention. Where a task knows the true one, every head is held against it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from attn.inspect.heads import number, shares
from attn.inspect.reader import Reader, counted
from attn.kernels import TokenInfo
from attn.model.maps import compute_maps
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.text_maps import LayerMap


@dataclass(frozen=True)
class Aligned:
    """The scores of the alignment of a head, of a mean of heads or of a baseline."""

    what: str
    scores: Mapping[str, float]
    baseline: bool = False


@dataclass(frozen=True)
class Known:
    """The scores of all heads where a task knows the true alignment."""

    title: str
    note: str
    """What a score is, and of which rows."""
    rows: Sequence[Aligned]


def mean_map(layers: Sequence[LayerMap]) -> Float[np.ndarray, "T S"]:
    """The mean over all heads of some layers, each row divided by its sum."""
    return np.mean([shares(layer.values).mean(axis=0) for layer in layers], axis=0)


def aligned(weights: Float[np.ndarray, "*N T S"]) -> Int[np.ndarray, "*N T"]:
    """The source position with the largest weight of each target position."""
    return weights.argmax(axis=-1)


def cross_maps(
    reader: Reader, rows: Mapping[str, np.ndarray]
) -> dict[str, Float[np.ndarray, "n N T S"]]:
    """The maps of cross-attention on rows of the task, by layer."""
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


def heads_and_means(
    maps: Mapping[str, Float[np.ndarray, "n N T S"]],
) -> Iterator[tuple[str, Float[np.ndarray, "n T S"]]]:
    """Yields the map of every head, of each layer's mean and of the mean of all."""
    means = {name: shares(values).mean(axis=1) for name, values in maps.items()}
    for name, values in maps.items():
        for head in range(values.shape[1]):
            yield f"{name}, head {head}", values[:, head]
        yield f"{name}, mean of its heads", means[name]
    yield "mean of all heads", np.mean(list(means.values()), axis=0)


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


def known_table(known: Known) -> Table:
    """The table of what every head scores against the true alignment."""
    rows = tuple(
        Row(
            (Cell(one.what), *map(number, one.scores.values())),
            "baseline" if one.baseline else "run",
        )
        for one in known.rows
    )
    names = map(Column, known.rows[0].scores)
    columns = (Column("largest weight of", text=True), *names)
    return Table(known.title, columns, rows, known.note)
