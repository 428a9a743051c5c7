"""The command `audit`: what a task gives away to solvers that do not attend."""

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source, take_name
from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.plots.tables import Table
    from attn.tasks import Dataset, Task

NOTE = (
    "Accuracy on the test split. Tables, and places that are copied, are of train; a place "
    "that is looked at, and a distance, are chosen on valid; all of the first 4 M tokens of "
    "each split, but for the task's own. None of these solvers attends; what the best of "
    "them finds is no evidence of attention."
)


def audit(words: Sequence[str], registry: Source) -> int:
    """Prints the accuracy of solvers without attention on a task."""
    from attn.cli.folders import folder
    from attn.cli.options import Auditing
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.data.build import prepare
    from attn.plots.terminal import to_rich
    from attn.tasks.shortcuts import best, shortcuts

    name, rest = take_name(words, "audit")
    own, rest = split_off(rest, ("workdir",), flags=("json",))
    asked = parse(Auditing, own, prog="launch.py audit TASK")
    print_help_of(Auditing, rest, prog="launch.py audit TASK")
    root = None if asked.workdir is None else folder("--workdir", asked.workdir)
    registry()  # a user's file may hold the task
    task = _task(name, rest)
    task.check()
    changed = _changed(task)
    data = prepare(task := task.resolved())
    found = dict(best(shortcuts(data, task.objective.num_documents)))
    table = _table(task, found, data, changed)
    if asked.json:
        print(json.dumps({"task": task.name, "data": data.sha256, **found}, indent=2))
    paths = []
    if root is not None:
        paths = _write(table, task, data, root / "-".join([task.name, *changed]))
    if not asked.json:
        printer = console()
        printer.print(to_rich([table], [NOTE], width=printer.width))
        print_paths(printer, *paths)
    return 0


def _write(table: "Table", task: "Task", data: "Dataset", stem: Path) -> list[Path]:
    """Keeps the table, and a picture of some examples if they are images."""
    from attn.cli.folders import writing
    from attn.plots.tables import write_tables

    with writing(stem.parent):
        paths = write_tables([table], stem, after=[NOTE])
        if task.image is not None:
            from attn.plots.examples import draw_examples
            from attn.plots.style import LIGHT

            paths.append(stem.with_name(f"{stem.name}.png"))
            title = f"{table.title}, test split"
            drawn = draw_examples(data.splits["test"], task.image, title, LIGHT)
            drawn.savefig(paths[-1], metadata={"Software": None})
    return paths


def _changed(task: "Task") -> list[str]:
    """The knobs of a task that are not at their defaults, as in `seq_len=128`."""
    return [
        re.sub(r"[^\w.=-]+", "-", f"{field.name}={getattr(task, field.name)}")
        for field in fields(task)
        if getattr(task, field.name) != getattr(type(task)(), field.name)
    ]


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
    task: "Task", found: dict[str, float], data: "Dataset", changed: Sequence[str]
) -> "Table":
    """Solvers, the task's own baselines and what knows its rule, the best first."""
    from attn.plots.tables import Cell, Column, Row, Table
    from attn.plots.units import metric_label, metric_text
    from attn.records.estimates import Estimate

    def cell(metric: str, value: float) -> Cell:
        return Cell(metric_text(metric, Estimate(value, None, 1), with_n=False), value)

    columns = (Column("solver", text=True), Column("accuracy, %", raw="accuracy"))
    rows = [Row((Cell(name), cell("accuracy", x))) for name, x in found.items()]
    note = f"data {data.sha256[:12]}"
    if task.metric.name == "accuracy":
        own = {"its own": task.baselines(data), "knows the rule": task.solvers(data)}
        rows += [
            Row((Cell(f"{name.replace('_', ' ')} ({kind})"), cell("accuracy", x)), "baseline")
            for kind, values in own.items()
            for name, x in values.items()
        ]  # fmt: skip
    else:
        note += f" · its own baselines are in {metric_label(task.metric.name)}"
    rows.sort(key=lambda row: -(row.cells[1].value or 0))
    title = ", ".join([task.name, f"{task.seq_len} tokens", *changed])
    return Table(title, columns, tuple(rows), note)
