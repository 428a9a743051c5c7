"""Kept audits: what solvers without attention found of a task, beside its table.

The command `audit` keeps one JSON file an audit, in `runs/audits` or where --workdir says. A
report looks into the folder `audits` beside a run folder, then into the one beside the
folder that holds it: `runs/audits` for `runs/mesh` and for the runs in `runs/heads`. An audit
is of a table where it is of a task of that name and of the same rows by their hash, since the
rows decide what a solver finds.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.config.codec import to_json
from attn.errors import UserError
from attn.records.comparison import FOUND, Group
from attn.records.files import read_json_or_none, write_json
from attn.records.typed import decode, encode
from attn.tasks import TASKS

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


def shortcuts(group: Group) -> str:
    """The best solver of the audit of a table's task, or how to make one, in a line.

    Empty for folders that cannot be read, and for tasks of a file that is not here.
    """
    task = group.runs[0].task
    if task.get("is") not in TASKS:
        return ""
    words = command(task)
    audit = next(_of(group), None)
    if audit is None:
        return f"Shortcuts: not audited; python launch.py {words}"
    name, value = max(audit.solvers.items(), key=lambda item: item[1])
    what = "answers" if group.metric == "accuracy" else "tokens"
    return f"Shortcuts: {name} finds {100 * value:.1f} % of {what} ({words})."


def command(task: Mapping[str, Any]) -> str:
    """The words that audit exactly this task, as in `audit mqar --task.num-pairs 8`.

    Own data are named without their folder, which is no part of a record.
    """
    name = str(task["is"])
    default = to_json(TASKS[name]())
    data = f":{Path(str(task['data'])).name}" if task.get("data") else ""
    options = [
        _option(field.replace("_", "-"), task[field])
        for field in default
        if field in task and field not in ("is", "data", *FOUND)
        if task[field] != default[field]
    ]
    return " ".join(["audit", shlex.quote(f"{name}{data}"), *options])


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--task.{'' if value else 'no-'}{name}"
    return f"--task.{name} {shlex.quote(str(value))}"


def _of(group: Group) -> Iterator[Audit]:
    """Yields the kept audits of a group's task and rows, the nearest first."""
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
