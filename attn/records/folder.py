"""The run folder: config, environment, metrics, result and checkpoints.

    config.json     the experiment and its fingerprint
    env.json        versions, devices, source: `environment`
    metrics.jsonl   one JSON object a line
    maps.npz        attention maps of one example
    result.json     only when the run has ended; with a checksum of itself and of these
    checkpoints/    see `attn.train.checkpoint.sealed`
    .lock           held by the process that writes

JSON is strict: what is not finite is null. A file appears whole or not at all. Where
several processes share a run, the first alone writes.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from attn.config import Experiment
from attn.errors import UserError
from attn.records import lock, maps
from attn.records.files import (
    read_bytes,
    read_json_or_none,
    write_atomically,
    write_json,
)
from attn.records.identity import difference, identity
from attn.records.result import Line, Result
from attn.records.run import damaged_files, read_run
from attn.records.seal import digest, notes_of, signed
from attn.records.typed import encode

SEALED = ("config.json", "env.json", maps.NAME, "metrics.jsonl")


def _silent(_: str) -> None:
    """Ignores a message."""


class RunFolder:
    """The files of one run under `path`; touches nothing before `open`.

    Args:
      path: the folder.
      writes: False in all but the first of several processes that share a run.
      say: called with messages about damage, and its consequences.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        writes: bool = True,
        say: Callable[[str], None] = _silent,
    ):
        self.path = Path(path)
        self.history: list[Line] = []
        """The lines of `metrics.jsonl`, as they ought to be."""
        self._writes, self._say = writes, say
        self._lock: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder where `Checkpoints` keeps its steps."""
        return self.path / "checkpoints"

    def check(self, experiment: Experiment) -> dict[str, Any] | None:
        """Returns the config in the folder, if any; writes nothing.

        Raises:
          UserError: the folder holds another experiment, or something else.
        """
        known = self.config()
        wanted = identity(experiment)
        differs = None if known is None else difference(known, wanted, extend=True)
        if differs is not None:
            raise UserError(
                f"{self.path} holds another experiment: {differs}; choose another "
                "--workdir, or delete that folder"
            )
        return known

    def open(self, experiment: Experiment, env: Mapping[str, Any]) -> None:
        """Creates the folder for `experiment`, or continues it; locks it until `close`.

        A run that continues elsewhere keeps its older environments in `env.json`,
        under `earlier`. A result that is there is of an end that is now taken back.

        Raises:
          UserError: the folder holds another experiment or something else, belongs to
            another process, or cannot be written; it is then left as it was.
        """
        self.check(experiment)
        if not self._writes:
            return
        with _writing(self.path), contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._lock or lock.lock(self.path)
            self.check(experiment)  # as another process left it
            wanted = identity(experiment)
            if read_json_or_none(self.path / "config.json") != wanted:
                write_json(self.path / "config.json", wanted)
            write_json(self.path / "env.json", self._with_earlier(encode(env)))
            (self.path / "result.json").unlink(missing_ok=True)
            failed.pop_all()

    def close(self) -> None:
        """Unlocks the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def append(self, line: Line) -> None:
        """Appends a line to `metrics.jsonl`."""
        self.history.append(line)
        if self._writes:
            with _writing(self.path), self._metrics.open("a", encoding="utf-8") as file:
                file.write(_text(line))

    def continue_from(self, history: tuple[Line, ...]) -> None:
        """Truncates `metrics.jsonl` to `history`."""
        self.history = list(history)
        if not self._writes:
            return
        wanted = "".join(map(_text, history)).encode()
        there = read_bytes(self._metrics) or b""
        if not there.startswith(wanted):
            self._say(
                f"{self._metrics} was damaged; its {len(history)} lines come back from "
                "the checkpoint"
            )
        if there != wanted:
            with _writing(self.path):
                write_atomically(self._metrics, wanted)

    def write_maps(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes `maps.npz`."""
        if self._writes:
            with _writing(self.path):
                write_atomically(self.path / maps.NAME, maps.pack(arrays))

    def finish(self, result: Result) -> Result:
        """Writes `result.json`, with the fingerprint and the checksums of all files."""
        config = read_json_or_none(self.path / "config.json") or {}
        if not self._writes:
            return result
        there = [name for name in SEALED if (self.path / name).exists()]
        seal = {name: digest(self.path / name) for name in there}
        ended = replace(result, fingerprint=config.get("fingerprint"), seal=seal)
        with _writing(self.path):
            write_json(self.path / "result.json", signed(encode(ended)))
        return ended

    def finished(self, experiment: Experiment) -> Result | None:
        """The result, if this same experiment ran to its end and nothing is damaged.

        Without a checkpoint to make them from, damaged maps are let be.
        """
        if not (self.path / "result.json").exists():
            return None
        try:
            run = read_run(self.path)
        except UserError as error:
            self._say(str(error))
            return None
        of_config = run.result.fingerprint == run.config.get("fingerprint")
        same = difference(run.config, identity(experiment)) is None
        if run.failed or not (of_config and same):
            return None
        lost = damaged_files(self.path, run.result) and self.checkpoints.is_dir()
        return None if lost else run.result

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def config(self) -> dict[str, Any] | None:
        """The values of `config.json`, or of a checkpoint where it is lost; else None.

        Raises:
          UserError: this is not the folder of a run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --workdir")
        path = self.path / "config.json"
        config = read_json_or_none(path) or self._config_of_checkpoints()
        if config is not None or not self.path.exists():
            return config
        if path.exists():
            raise UserError(
                f"{path} is damaged; delete it, or choose another --workdir"
            )
        others = {p.name for p in self.path.iterdir() if not p.name.startswith(".")}
        if others:
            raise UserError(
                f"{self.path} holds {min(others)!r} and no config.json, so "
                "it is not the folder of a run; choose another --workdir"
            )
        return None

    def _config_of_checkpoints(self) -> dict[str, Any] | None:
        """The experiment in the seal of a checkpoint, when `config.json` is lost."""
        for seal in sorted(self.checkpoints.glob("manifests/*.json")):
            with contextlib.suppress(UserError):
                return notes_of(seal).get("experiment")
        return None

    def _with_earlier(self, env: dict[str, Any]) -> dict[str, Any]:
        before = read_json_or_none(self.path / "env.json") or {}
        earlier = before.pop("earlier", [])
        if before and before != env:
            earlier = [*earlier, before]
        return env | ({"earlier": earlier} if earlier else {})


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns disk errors into one-line errors about `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"cannot write to {folder}: {reason}; make room or choose another "
            "--workdir, then run again"
        ) from error


def written(line: Line) -> dict[str, Any]:
    """A line of `metrics.jsonl` as JSON values, without what was not measured."""
    return {key: item for key, item in encode(line).items() if item is not None}


def _text(line: Line) -> str:
    return json.dumps(written(line), allow_nan=False) + "\n"
