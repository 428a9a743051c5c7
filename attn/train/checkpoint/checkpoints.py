"""Checkpoints that are verified on reading: damaged ones are skipped, and named.

Orbax writes the arrays; `attn.train.checkpoint.sealed` says which of its steps are good.
"""

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from attn.errors import UserError
from attn.parallel.processes import connected, from_first, is_first
from attn.records.files import disk_reason
from attn.train.checkpoint.sealed import SealedSteps, describe

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """A checkpoint that was restored."""

    step: int
    state: PyTree
    data: dict[str, Any]
    """The JSON values that were saved beside the state."""
    skipped: tuple[str, ...]
    """One line for each newer checkpoint that was skipped, newest first."""


class Checkpoints:
    """The newest `keep` checkpoints of a run, in `directory`.

    Each carries `experiment`, the JSON values of `identity`, in its seal. A state is a
    tree of jax arrays (typed PRNG keys too) in dictionaries with string keys, tuples
    and named tuples. Orbax would turn other keys into strings. Where several processes
    share a run they share `directory`, and call each method together.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: int = 2,
        experiment: Mapping[str, Any] | None = None,
    ):
        if keep < 1:
            raise UserError(f"keep = {keep}; at least 1 checkpoint must be kept")
        self.directory = Path(directory).absolute()
        self._keep = keep
        self._sealed = SealedSteps(self.directory, experiment or {})
        self._manager: ocp.CheckpointManager | None = None
        self._pending: tuple[int, dict[str, str]] | None = None
        self._failures = 0
        self._passed_over: list[int] = []
        _silence_orbax()

    def save(self, step: int, state: PyTree, data: dict[str, Any]) -> None:
        """Starts to save `state` as `step`, with the JSON values `data`.

        Returns when the arrays are copied; the rest is done in the background, and a
        step that is already there is left alone. One failed save is a warning, and
        the next one is its retry.

        Raises:
          UserError: two saves in a row failed; older checkpoints are untouched.
          TypeError: a dictionary in `state` has a key that is not a string.
        """
        described = describe(state)
        values = json.loads(json.dumps(data, allow_nan=False))
        self.settle()
        for attempt in range(2):
            try:
                self._start(step, state, values, described)
                return
            except Exception as error:
                self._failed(step, error, last=attempt == 1)

    def restore(self, abstract: PyTree) -> Restored | None:
        """Restores the newest checkpoint whose every byte is as it was written.

        Args:
          abstract: `jax.ShapeDtypeStruct` leaves, each with the `NamedSharding` that
            the array is to have; the mesh may be another than the one that saved.

        Returns:
          None when there is no checkpoint at all. The ones passed over are removed
          by the next `save`, not here.

        Raises:
          UserError: there are checkpoints and none is good, or the good one is of
            another experiment, or holds other arrays than `abstract` asks for.
        """
        self.settle()
        looked = json.dumps(self._sealed.newest_good()) if is_first() else ""
        step, faults = json.loads(from_first(looked))
        skipped = [f"checkpoint {at} passed over: {fault}" for at, fault in faults]
        if step is not None:
            self._sealed.require_same(step, describe(abstract))
            self._passed_over = [at for at, _ in faults]
            return self._read(step, abstract, tuple(skipped))
        if skipped:
            raise UserError(
                f"no usable checkpoint in {self.directory} ({'; '.join(skipped)}); "
                "delete that folder to train from the start"
            )
        return None

    def close(self) -> None:
        """Waits for the last save, and seals it.

        Raises:
          UserError: it failed; older checkpoints are untouched.
        """
        try:
            self.settle(last=True)
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None

    def _start(self, step: int, state: PyTree, data: dict, described: dict) -> None:
        if self._manager is None:
            self._sealed.prune()
            self._manager = self._open()
        for damaged in self._passed_over:
            self._manager.delete(damaged)
        self._passed_over = []
        if step in self._manager.all_steps():
            return
        self._pending = (step, described)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data)
            ),
            force=True,
        )

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep,
            lightweight_initialize=True,
            # Orbax calls this when all files are written, just before the rename.
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        return ocp.CheckpointManager(
            self.directory, item_names=("state", "data"), options=options
        )

    def settle(self, *, last: bool = False) -> None:
        """Waits for the save in progress, if any; one that failed is a warning.

        Raises:
          UserError: it is the `last`, or the second in a row.
        """
        if self._pending is None or self._manager is None:
            return
        step, _ = self._pending
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._failed(step, error, last=last)
        else:
            self._pending, self._failures = None, 0
            self._sealed.seal_stamps(step)
            self._sealed.prune()

    def _failed(self, step: int, error: Exception, *, last: bool) -> None:
        """Cleans up after a failed save; raises what is not a disk error."""
        manager, self._manager, self._pending = self._manager, None, None
        if manager is not None:
            with contextlib.suppress(Exception):
                manager.close()
        self._sealed.prune()
        reason = disk_reason(error)
        if reason is None:
            raise error
        self._failures += 1
        line = f"checkpoint {step} could not be saved in {self.directory}: {reason}"
        # Of several processes the others do not know that they must try again.
        if last or self._failures > 1 or connected():
            kept = ", ".join(map(str, self._sealed.committed())) or "none"
            raise UserError(
                f"{line}; make room and run again (checkpoints kept: {kept})"
            ) from error
        _log.warning("%s; the next save tries again", line)

    def _seal(self) -> None:
        """Seals the step that is about to be committed."""
        if self._pending is not None:
            self._sealed.seal(*self._pending)

    def _read(self, step: int, abstract: PyTree, skipped: tuple[str, ...]) -> Restored:
        # Straight from the sealed folders: the manager would trust unsealed flags.
        folder = self._sealed.folder(step)
        data = json.loads((folder / "data" / "metadata").read_bytes())
        with ocp.StandardCheckpointer() as reader:
            state = reader.restore(folder / "state", abstract)
        return Restored(step=step, state=state, data=data, skipped=skipped)


def _silence_orbax() -> None:
    """Keeps Orbax from logging; this module raises or warns instead."""
    logger = logging.getLogger("absl")
    if _not_orbax not in logger.filters:
        logger.addFilter(_not_orbax)


def _not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts
