"""The alignment of dates: in which characters of the source each part stands."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from attn.inspect.alignment import Aligned, Known, aligned, cross_maps, heads_and_means
from attn.inspect.reader import Reader
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
NOTE = (
    "The share of target positions whose largest weight falls on the characters of "
    "the source that say them, on the first rows of the test split."
)


def date_alignment(reader: Reader, task: Dates, rows: int = ROWS) -> Known:
    """Measures cross-attention on the first rows of the test split.

    Of every head, and of the mean over heads; beside the diagonal, and the mean share of
    source characters that say a part, which is what looking anywhere would give.
    """
    from attn.data.build import prepare

    test = {key: x[:rows] for key, x in prepare(task).splits["test"].items()}
    said = {part: marked(task, test, part) for part in PARTS}

    def scored(
        what: str, at: Int[np.ndarray, "n T"], baseline: bool = False
    ) -> Aligned:
        shares = {part: share_on(at, said[part]) for part in PARTS}
        return Aligned(what, shares, baseline)

    maps = heads_and_means(cross_maps(reader, test))
    lengths = zip(test["lengths"], test["source_lengths"])
    straight = [diagonal(t, s).tolist() for t, s in lengths]
    anywhere = _anywhere(said, test["source_lengths"])
    found = (
        *(scored(what, aligned(weights)) for what, weights in maps),
        scored("diagonal", padded(straight, test["tokens"].shape[1]), True),
        Aligned("anywhere", anywhere, True),
    )
    return Known("Alignment of dates", NOTE, found)


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


def _anywhere(
    said: Mapping[str, Bool[np.ndarray, "n T S"]], lengths: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """The share of positions that a random source position would say."""
    return {
        part: float((at.sum(axis=-1) / lengths[:, None])[at.any(axis=-1)].mean())
        for part, at in said.items()
    }


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
