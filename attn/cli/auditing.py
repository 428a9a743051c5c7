"""The command `audit`: what a task gives away to solvers that do not attend."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attn.cli.commands import Source, take_name
from attn.cli.console import console
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.plots.tables import Table
    from attn.tasks import Task

NOTE = (
    "Accuracy on the test split: tables filled on train, places and distances chosen on "
    "valid, of the first 4 M tokens of each. None of these solvers attends; what the "
    "best of them finds is no evidence of attention."
)


def audit(words: Sequence[str], registry: Source) -> int:
    """Prints the accuracy of solvers without attention on a task."""
    from attn.cli.options import Auditing
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.data.build import prepare
    from attn.plots.terminal import to_rich
    from attn.tasks.shortcuts import best, shortcuts

    name, rest = take_name(words, "audit")
    own, rest = split_off(rest, (), flags=("json",))
    asked = parse(Auditing, own, prog="launch.py audit TASK")
    print_help_of(Auditing, rest, prog="launch.py audit TASK")
    registry()  # a user's file may hold the task
    task = _task(name, rest)
    task.check()
    data = prepare(task := task.resolved())
    found = dict(best(shortcuts(data, task.objective.num_documents)))
    if asked.json:
        print(json.dumps({"task": task.name, "data": data.sha256, **found}, indent=2))
        return 0
    printer = console()
    table = _table(task, found, task.baselines(data), data.sha256)
    printer.print(to_rich([table], [NOTE], width=printer.width))
    return 0


def _task(name: str, words: Sequence[str]) -> "Task":
    """The task of a name, with its options."""
    from attn.cli.parsing import override
    from attn.config import Experiment
    from attn.tasks import MQAR

    base = Experiment("audit", "None.", MQAR())
    changed, where = override(base, ["--task", name, *words], "launch.py audit TASK")
    others = (changed.model, changed.train, changed.seeds)
    if others != (base.model, base.train, base.seeds) or any(vars(where).values()):
        raise UserError("audit has no model; give options of the task, --task.seq-len")
    return changed.task


def _table(
    task: "Task", found: dict[str, float], baselines: dict[str, float], sha256: str
) -> "Table":
    """Solvers and the task's own baselines, the best first."""
    from attn.plots.tables import Cell, Column, Row, Table
    from attn.plots.units import metric_label, metric_text
    from attn.records.estimates import Estimate

    def cell(metric: str, value: float) -> Cell:
        return Cell(metric_text(metric, Estimate(value, None, 1), with_n=False), value)

    columns = (Column("solver", text=True), Column("accuracy, %"))
    rows = [Row((Cell(name), cell("accuracy", x))) for name, x in found.items()]
    note = f"data {sha256[:12]}"
    if task.metric.name == "accuracy":
        rows += [
            Row((Cell(f"{name.replace('_', ' ')} (its own)"), cell("accuracy", x)), "baseline")
            for name, x in baselines.items()
        ]  # fmt: skip
    else:
        note += f" · its own baselines are in {metric_label(task.metric.name)}"
    rows.sort(key=lambda row: -(row.cells[1].value or 0))
    return Table(f"{task.name}, {task.seq_len} tokens", columns, tuple(rows), note)
