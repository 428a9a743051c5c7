"""Kept audits: what solvers without attention found of a task, one file an audit.

The command `audit` keeps them in `runs/audits` or where --workdir says. An audit is of a
table where it is of a task of that name and of the same rows by their hash, since the rows
decide what a solver finds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.records.comparison import Group
from attn.records.files import read_json_or_none, write_json
from attn.records.typed import decode, encode

FOLDER = "audits"


@dataclass(frozen=True)
class Audit:
    """The file of one audit: a certificate of what needs no attention."""

    task: Mapping[str, Any]
    """The task's config, as in `config.json`."""
    data: str
    """The SHA-256 of its rows."""
    solvers: Mapping[str, float]
    """The accuracy of each that neither attends nor knows the task's rule."""
    environment: Mapping[str, Any]
    """Versions, machine and commit, as in `env.json`."""


def write_audit(audit: Audit, path: Path) -> None:
    """Writes an audit, whole or not at all."""
    write_json(path, encode(audit))


def audits_of(group: Group) -> Iterator[Audit]:
    """Yields the kept audits of a group's task and rows, the nearest first.

    They lie in the folder `audits` beside a run folder, or beside the folder that holds it:
    `runs/audits` for `runs/mesh` and for the runs in `runs/heads`.
    """
    data = {run.data_sha256 for run in group.runs} - {None}
    near = [run.directory.absolute().parents[:2] for run in group.runs]
    folders = dict.fromkeys(beside / FOLDER for two in zip(*near) for beside in two)
    for path in (path for one in folders for path in sorted(one.glob("*.json"))):
        audit = _read(path)
        same = audit and audit.task.get("is") == group.runs[0].task.get("is")
        if audit and same and audit.solvers and audit.data in data:
            yield audit


def _read(path: Path) -> Audit | None:
    """Reads an audit; None where the file is damaged, or something else."""
    try:
        return decode(Audit, read_json_or_none(path) or {}, where=path)
    except UserError:
        return None
