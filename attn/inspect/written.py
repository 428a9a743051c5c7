"""Scores of what a run writes: a split's targets by greedy decoding, whole."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model import Transformer
from attn.model.generate import Prompt, generate, off_mesh
from attn.records import load, restore
from attn.tasks.base import Dataset, Rows
from attn.tasks.pairs import Pairs

BATCH = 128
"""Rows that are written at once."""
Say = Callable[[int, int], None]
"""Told how many rows are written, of how many."""


def score_written(
    folder: Path, task: Pairs, rows: Rows, seed: int, say: Say
) -> Mapping[str, float]:
    """Scores what one seed of a run writes after the sources of rows, by name."""
    model = off_mesh(restore(folder, seed=seed))
    said = write_rows(model, task, rows, say)
    return task.score_texts(*([*map(task.text, of)] for of in (said, rows["targets"])))


def pairs_of(folder: Path) -> tuple[Pairs, Dataset]:
    """The task of a run, which has sources and targets, and its data.

    Raises:
        UserError: it has none, or other data today, or a package that scores texts is
            missing.
    """
    from attn.data.build import prepare
    from attn.train.evaluate import require_same_data

    task = load(folder).experiment.task.resolved()
    if isinstance(task, Pairs):
        task.score_texts(["."], ["."])
        data = prepare(task)
        require_same_data(folder, task, task, data)
        return task, data
    raise UserError(
        f"{folder} was trained on {task.name!r}, which has no targets to write after a "
        "source; leave out --written"
    )


def write_rows(
    model: Transformer, task: Pairs, rows: Rows, say: Say
) -> Int[np.ndarray, "n T"]:
    """Writes a target after the source of each row, token by token."""
    count, written = len(rows["source"]), []
    for first in range(0, count, BATCH):
        # The last batch reads rows before it again, so that all have one shape.
        here = max(0, min(first, count - BATCH))
        batch = {key: jnp.asarray(x[here : here + BATCH]) for key, x in rows.items()}
        prompt = _prompt(model, task, batch)
        found = generate(model, prompt, task.seq_len, end=task.end)
        written.append(np.asarray(found)[first - here :])
        say(min(first + BATCH, count), count)
    return np.concatenate(written)


def _prompt(model: Transformer, task: Pairs, batch: Mapping[str, Array]) -> Prompt:
    """The prompt of each row: its source, and the start token."""
    source = batch["source"].astype(jnp.int32)
    start = jnp.full((len(source), 1), task.start, jnp.int32)
    lengths = batch["source_lengths"]
    if model.encoder is not None:
        return Prompt(start, source=source, source_info=TokenInfo(lengths=lengths))
    real = jnp.arange(source.shape[1])[None] < lengths[:, None]
    mask = jnp.concatenate([real, jnp.ones_like(start, bool)], axis=1)
    return Prompt(jnp.concatenate([source, start], axis=1), TokenInfo(mask=mask))
