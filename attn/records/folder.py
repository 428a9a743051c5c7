"""The folder of a run: what was asked, where it ran, what was measured, how it ended.

    config.json     the experiment and its fingerprint
    env.json        versions, devices, source: `environment`
    metrics.jsonl   one JSON object a line
    result.json     only when the run has ended
    checkpoints/    see `attn.train.checkpoint.checkpoints`

JSON is strict: what is not finite is null. A file appears whole or not at all. Where
several processes share a run, the first alone writes.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from attn.config import Experiment, fingerprint, to_json
from attn.errors import UserError
from attn.records.environment import environment
from attn.records.files import read_json, write_atomically, write_json

__all__ = ["RunFolder", "environment"]

_ABSENT = object()


class RunFolder:
    """The files of one run under `path`; nothing is touched before `open`."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        """Where `Checkpoints` keeps its steps."""
        return self.path / "checkpoints"

    def open(self, experiment: Experiment, env: Mapping[str, Any]) -> None:
        """Creates the folder for `experiment`, or continues it.

        A run that continues elsewhere keeps its older environments in `env.json`,
        under `earlier`.

        Raises:
          UserError: the folder holds another experiment or something else, or cannot
            be written; it is then left as it was.
        """
        with _writing(self.path):
            known, wanted = self.check(experiment)
            self.path.mkdir(parents=True, exist_ok=True)
            if known != wanted:
                write_json(self.path / "config.json", wanted)
            write_json(self.path / "env.json", self._with_earlier(_plain(env)))

    def check(self, experiment: Experiment) -> tuple[dict | None, dict]:
        """The config that is there, if any, and the one to write; leaves no file.

        Raises:
          UserError: the folder holds another experiment or something else, or the
            disk takes no file.
        """
        wanted = _plain(to_json(experiment)) | {"fingerprint": fingerprint(experiment)}
        known = self._known_config()
        if known is not None:
            self._refuse_another(known, wanted)
        there = next(
            p for p in (self.path, *self.path.absolute().parents) if p.is_dir()
        )
        with _writing(self.path), TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
        return known, wanted

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds one line to `metrics.jsonl`; arrays become lists.

        A run that continues calls `truncate` first: a kill may have torn the last line.
        """
        line = json.dumps({"step": int(step)} | _plain(values), allow_nan=False)
        with (
            _writing(self.path),
            (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file,
        ):
            file.write(line + "\n")

    def truncate(self, step: int) -> None:
        """Drops the lines after `step`, and a torn last line; -1 drops them all."""
        lines = [json.dumps(row) for row in self.history() if row["step"] <= step]
        path = self.path / "metrics.jsonl"
        if path.exists():
            with _writing(self.path):
                write_atomically(path, "".join(line + "\n" for line in lines))

    def history(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, without one that a kill tore off at the end."""
        path = self.path / "metrics.jsonl"
        # A line without its newline was never finished, even if it reads as JSON.
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        rows = []
        for number, line in enumerate(lines, start=1):
            row = _row(line)
            if row is None:
                raise UserError(f"{path}, line {number} is damaged; delete that line")
            rows.append(row)
        return rows

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`: `result`, status "done" unless given, fingerprint."""
        config = read_json(self.path / "config.json") or {}
        ended = {"status": "done", "fingerprint": config.get("fingerprint")}
        with _writing(self.path):
            write_json(self.path / "result.json", ended | _plain(result))

    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote; None before."""
        return read_json(self.path / "result.json")

    def is_finished(self, experiment: Experiment) -> bool:
        """Whether this very experiment ran to its end here."""
        result = self.result() or {}
        same = result.get("fingerprint") == fingerprint(experiment)
        return same and result.get("status") == "done"

    def _known_config(self) -> dict[str, Any] | None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --workdir")
        config = read_json(self.path / "config.json")
        if config is None and self.path.exists():
            others = [p.name for p in self.path.iterdir() if p.suffix != ".tmp"]
            if others:
                raise UserError(
                    f"{self.path} holds {sorted(others)[0]!r} and no config.json, so it "
                    "is not the folder of a run; choose another --workdir"
                )
        return config

    def _refuse_another(self, known: Mapping, wanted: Mapping) -> None:
        for name, there, here in _differences(known, wanted):
            # A claim is words: rewording it does not make another run.
            if name not in ("claim", "fingerprint"):
                raise UserError(
                    f"{self.path} holds another experiment: {name} is {_show(there)} "
                    f"there and {_show(here)} here; choose another --workdir, or "
                    "delete that folder"
                )

    def _with_earlier(self, env: dict[str, Any]) -> dict[str, Any]:
        before = read_json(self.path / "env.json") or {}
        earlier = before.pop("earlier", [])
        if before and before != env:
            earlier = [*earlier, before]
        return env | ({"earlier": earlier} if earlier else {})


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line about `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"cannot write to {folder}: {reason}; make room or choose another "
            "--workdir, then run again"
        ) from error


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _plain(value: Any) -> Any:
    """`value` as strict JSON: arrays to lists, non-finite numbers to null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _differences(
    there: Any, here: Any, name: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two JSON values that differ, as (dotted name, there, here)."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*here, *(key for key in there if key not in here)]:
            path = f"{name}.{key}" if name else key
            yield from _differences(
                there.get(key, _ABSENT), here.get(key, _ABSENT), path
            )
    elif there != here:
        yield name, there, here


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)
