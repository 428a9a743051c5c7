"""The line below a table that says what solvers without attention find of its task."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attn.config.codec import to_json
from attn.records.audits import audits_of
from attn.records.comparison import FOUND, Group
from attn.tasks import TASKS


def shortcuts(group: Group) -> str:
    """The best solver of the audit of a table's task, or how to make one, in a line.

    Empty for folders that cannot be read, and for tasks of a file that is not here.
    """
    task = group.runs[0].task
    if task.get("is") not in TASKS:
        return ""
    words = command(task)
    audit = next(audits_of(group), None)
    if audit is None:
        return f"Shortcuts: not audited; python launch.py {words}"
    name, value = max(audit.solvers.items(), key=lambda item: item[1])
    what = "answers" if group.metric == "accuracy" else "tokens"
    return f"Shortcuts: {name} finds {100 * value:.1f} % of {what} ({words})."


def command(task: Mapping[str, Any]) -> str:
    """The words that audit exactly this task, as in `audit mqar --task.num-pairs 8`.

    Own data are named without their folder, which is no part of a record.
    """
    given = changed(task)
    data = given.pop("data", "")
    name = f"{task['is']}:{Path(str(data)).name}" if data else str(task["is"])
    options = [_option(field.replace("_", "-"), x) for field, x in given.items()]
    return " ".join(["audit", shlex.quote(name), *options])


def changed(task: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a task's config that are not at their defaults."""
    default = to_json(TASKS[str(task["is"])]())
    return {
        field: task[field]
        for field in default
        if field in task and field not in ("is", *FOUND)
        if task[field] != default[field]
    }


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--task.{'' if value else 'no-'}{name}"
    return f"--task.{name} {shlex.quote(str(value))}"
