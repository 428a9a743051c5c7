"""Runs collected from folders, and those of them that are asked for."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attn.errors import UserError, unknown
from attn.records.describe import describe
from attn.records.files import read_json
from attn.records.result import Result
from attn.records.run import Run, read_config, read_metrics, read_run
from attn.records.seeds import MORE_SEEDS, merged

MOST_FOLDERS = 10_000
"""The number of folders that are searched for runs."""


def load_all(*directories: Path | str) -> list[Run]:
    """Loads every run folder in directories, at any depth, by family and mechanism.

    Links are followed, hidden folders are not entered, and a run is loaded once. A
    folder that cannot be read is a failed run whose error is the reason, under the task
    that its config names where that can still be read. So is a run that was killed, or
    is still running.

    Raises `UserError` when there is none.
    """
    found: dict[Path, Path] = {}
    for directory in map(Path, directories):
        if not directory.is_dir():
            raise UserError(
                f"{directory} is not a folder; give the folder of your runs"
            )
        folders = list(run_folders_in(directory))
        if not folders:
            raise UserError(
                f"no run in {directory}: none that ended, or recorded a step, at any depth; "
                "train one with `launch.py run NAME --workdir DIR`"
            )
        found |= {folder.resolve(): folder for folder in folders}
    return merged(map(_read_or_say_why, sorted(found.values())))


def run_folders_in(directory: Path) -> Iterator[Path]:
    """Yields the folders of runs below a directory, links followed.

    Those are runs that have ended, or recorded a step.

    Raises `UserError` for a directory of more than `MOST_FOLDERS` folders.
    """
    seen: set[Path] = set()
    for path, inner, files in os.walk(directory, followlinks=True):
        real = Path(path).resolve()
        if real in seen:  # a link to where one has been
            inner.clear()
            continue
        seen.add(real)
        if len(seen) > MOST_FOLDERS:
            raise UserError(
                f"{directory} holds more than {MOST_FOLDERS:,} folders; name the folder "
                "of your runs"
            )
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if _is_run(files):
            inner[:] = [name for name in inner if fnmatchcase(name, MORE_SEEDS)]
            yield Path(path)


def _is_run(files: Collection[str]) -> bool:
    return "result.json" in files or {"config.json", "metrics.jsonl"} <= set(files)


def _read_or_say_why(folder: Path) -> Run:
    try:
        ended = (folder / "result.json").exists()
        return read_run(folder) if ended else _read_unfinished(folder)
    except UserError as error:
        result = Result(status="failed", error=str(error))
    try:
        config = read_config(folder)
    except UserError:
        names = {"task": {"is": "folders that cannot be read"}, "model": {}}
        config = {"name": folder.name, **names}
    return Run(folder, config, {}, result)


def _read_unfinished(folder: Path) -> Run:
    """Reads a run without a result, as one that failed since it was killed, or goes on.

    What follows from its config is known as of any other, where that can be decoded.
    """
    config, env = read_config(folder), read_json(folder / "env.json") or {}
    metrics = read_metrics(folder, torn=True)
    done = metrics[-1].step if metrics else 0
    steps = (config.get("train") or {}).get("steps", "?")
    said = f"unfinished: {done} of {steps} steps are recorded; the same command goes on"
    result = Result(status="failed", error=said)
    run = Run(folder, config, env, result, metrics, unfinished=True)
    with suppress(UserError):
        known = describe(run.experiment, study=None)
        run = replace(run, result=replace(known, error=said))
    return run


def pick(
    runs: Sequence[Run], *, only: Sequence[str] = (), where: Sequence[str] = ()
) -> list[Run]:
    """The runs with one of these names and all of these values in their configs.

    Args:
        only: names, with `*` for any letters.
        where: fields and values, as in `model.num_heads=8`.

    Raises:
        UserError: a name or a condition fits no run.
    """
    for name in only:
        if not any(fnmatchcase(run.name, name) for run in runs):
            raise unknown("run", name, [run.name for run in runs])
    if only:
        runs = [r for r in runs if any(fnmatchcase(r.name, name) for name in only)]
    for condition in where:
        path, equals, wanted = condition.partition("=")
        if not equals:
            raise UserError(
                f"--where {condition!r}: write a field and a value, as in "
                "model.num_heads=8"
            )
        found = {_value(run.config, path) for run in runs}
        if wanted not in found:
            there = ", ".join(sorted(found - {None})) or "no such field"  # pyright: ignore[reportArgumentType, reportCallIssue]
            raise UserError(f"--where {condition!r} fits no run; there are: {there}")
        runs = [run for run in runs if _value(run.config, path) == wanted]
    return list(runs)


def _value(config: Mapping[str, Any], path: str) -> str | None:
    """The value at a dotted path as it is written on the command line."""
    value: Any = config
    for name in path.replace("-", "_").split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    if isinstance(value, Mapping):
        value = value.get("is")
    return (
        str(value).lower()
        if value is None or value is True or value is False
        else str(value)
    )
