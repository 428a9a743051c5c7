"""Run folders as typed data: written and read here."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.model import Transformer
    from attn.records.run import Run

__all__ = ["load", "restore"]


def load(directory: Path | str) -> "Run":
    """Loads the run in a folder: its `experiment`, `result`, `metrics`, `environment`.

    Raises:
      UserError: a file is missing, damaged or wrong; it is named.
    """
    from attn.records.run import read_run

    return read_run(Path(directory))


def restore(directory: Path | str, *, seed: int = 0) -> "Transformer":
    """Restores the model of a run, with the final weights of one of its seeds.

    Needs the folder alone. Call the model where `jax.set_mesh(make_mesh())` holds.

    Raises:
      UserError: there is no such seed, or no checkpoint that is whole and of this run.
    """
    from attn.train.checkpoint.restore import restore_model

    return restore_model(Path(directory), seed)
