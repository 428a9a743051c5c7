"""The steps that are on disk: which are good, and what seals them.

Orbax commits a step by renaming its folder, but does not checksum it: a flipped bit
would come back as a wrong weight. So every step is sealed with the SHA-256 of its files
*before* the rename. A kill at any moment leaves a step that is absent, or sealed:

    <step>/state/...         the arrays, as Orbax lays them out
    <step>/data/metadata     what was measured so far, JSON
    manifests/<step>.json    the seal: hash of each file; dtype and shape of each array;
                             the experiment
"""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from attn.errors import UserError
from attn.parallel.processes import is_first
from attn.records.identity import difference
from attn.records.seal import broken_seal, extend_seal, notes_of, write_seal

# Orbax stamps these after the seal; they hold times and flags, nothing restored.
_STAMPS = ("_CHECKPOINT_METADATA", "commit_success.txt")


class SealedSteps:
    """The sealed steps of a run, in `directory`, of one experiment's JSON values.

    Of several processes that share `directory` the first alone writes.
    """

    def __init__(self, directory: Path, experiment: Mapping[str, Any]):
        self.directory, self._experiment = directory, dict(experiment)

    def committed(self) -> list[int]:
        """The committed steps, newest first."""
        if not self.directory.is_dir():
            return []
        names = (path.name for path in self.directory.iterdir() if path.is_dir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def newest_good(self) -> tuple[int | None, list[tuple[int, str]]]:
        """The newest good step, if any, and the faults of newer ones."""
        faults = []
        for step in self.committed():
            fault = self.fault(step)
            if fault is None:
                return step, faults
            faults.append((step, fault))
        return None, faults

    def fault(self, step: int) -> str | None:
        """The reason why a step is not good; None where every byte is as it was written."""
        return broken_seal(self._seal(step), self.folder(step), optional=_STAMPS)

    def folder(self, step: int) -> Path:
        """The folder of a step."""
        return self.directory / str(step)

    def _seal(self, step: int) -> Path:
        return self.directory / "manifests" / f"{step}.json"

    def seal(self, step: int, arrays: Mapping[str, str]) -> None:
        """Seals a step that is about to be committed, with what `describe` gives."""
        if not is_first():
            return
        (draft,) = self.directory.glob(f"{step}.orbax-checkpoint-tmp*")
        notes = {"step": step, "arrays": arrays, "experiment": self._experiment}
        write_seal(self._seal(step), draft, without=_STAMPS, notes=notes)

    def seal_stamps(self, step: int) -> None:
        """Adds to the seal what Orbax wrote after it."""
        if is_first():
            # If the disk is full, the seal is written without them.
            with contextlib.suppress(OSError):
                extend_seal(self._seal(step), self.folder(step), _STAMPS)

    def require_same(self, step: int, wanted: Mapping[str, str]) -> None:
        """Requires that a step is of this experiment, and holds these arrays.

        Raises:
            UserError: it is of another, or holds others.
        """
        notes = notes_of(self._seal(step))
        differs = difference(notes.get("experiment", {}), self._experiment, extend=True)
        if differs is not None:
            raise UserError(
                f"checkpoint {step} in {self.directory} is of another experiment: "
                f"{differs}; use the config that wrote it, or another --workdir"
            )
        saved = notes["arrays"]
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise UserError(
                    f"checkpoint {step} in {self.directory} holds {path} as "
                    f"{saved.get(path, 'nothing')} where {wanted.get(path, 'nothing')} "
                    "is wanted; use the config that wrote it, or another --workdir"
                )

    def prune(self) -> None:
        """Removes what interrupted saves left, while no save is in progress."""
        if not is_first():
            return
        with contextlib.suppress(OSError):
            for draft in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(draft, ignore_errors=True)
            for manifest in self.directory.glob("manifests/*"):
                if not (self.directory / manifest.stem).is_dir():
                    manifest.unlink(missing_ok=True)


def describe(tree: PyTree) -> dict[str, str]:
    """Dtype and shape of each leaf by its path, as in `params/w: float32[64,128]`.

    Raises:
        TypeError: a dictionary in the tree has a key that is not a string.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    described = {}
    for path, leaf in leaves:
        for key in path:
            if not isinstance(getattr(key, "key", ""), str):
                raise TypeError(f"{jax.tree_util.keystr(path)}: keys must be strings")
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        described[name] = f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    return described
