"""Run folders as typed data: written and read here."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.model import Transformer
    from attn.parallel.mesh import Mesh
    from attn.records.run import Run

__all__ = ["load", "restore"]


def load(directory: Path | str) -> "Run":
    """Loads the run in a folder: its `experiment`, `result`, `metrics`, `environment`.

    Raises:
      UserError: a file is missing, damaged or wrong; it is named.
    """
    from attn.records.run import read_run

    return read_run(Path(directory))


def restore(
    directory: Path | str, *, seed: int = 0, mesh: "Mesh | None" = None
) -> "Transformer":
    """Restores the model of a run, with the final weights of one of its seeds.

    Needs the folder alone. Call the model where `jax.set_mesh(mesh)` holds.

    Args:
      mesh: where the weights are laid out, whatever the run's own was; that of one
        device, `attn.parallel.mesh.make_mesh()`, unless given.

    Raises:
      UserError: there is no such seed, or no checkpoint that is whole and of this run;
        or the mesh does not divide the model.
    """
    from attn.train.checkpoint.restore import restore_model

    return restore_model(Path(directory), seed, mesh)
