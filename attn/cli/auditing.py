"""The command `audit`: what a task gives away to solvers that do not attend."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source, take_name
from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.plots.tables import Table
    from attn.records.audits import Audit
    from attn.tasks import Dataset, Task

NOTE = (
    "Accuracy on the test split. Tables, bags, and places that are copied, are of train; a place "
    "that is looked at, and a distance, are chosen on valid; all of the first 4 M tokens of "
    "each split, but for the task's own. None of these solvers attends; what the best of "
    "them finds is no evidence of attention."
)

OWN = " (its own)"
LONGEST = 180
"""Bytes of a name of files, to which a hash and an ending are added."""


def audit(words: Sequence[str], registry: Source) -> int:
    """Prints the accuracy of solvers without attention on a task, and keeps it.

    What is kept lies in `runs/audits` by default, where reports of `runs` look for it.
    """
    from attn.cli.folders import workdir
    from attn.cli.options import Auditing
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.cli.sizes import check_data
    from attn.config import to_json
    from attn.data.build import prepare
    from attn.plots.audits import changed
    from attn.plots.terminal import to_rich
    from attn.tasks.shortcuts import best, shortcuts

    name, rest = take_name(words, "audit")
    own, rest = split_off(rest, ("workdir",), flags=("json",))
    asked = parse(Auditing, own, prog="launch.py audit TASK")
    print_help_of(Auditing, rest, prog="launch.py audit TASK")
    root = workdir(asked.workdir, "audits")
    registry()  # a user's file may hold the task
    task = _task(name, rest)
    check_data(task)
    task.check()
    given = changed(to_json(task)).items()
    knobs = [re.sub(r"[^\w.=-]+", "-", f"{field}={value}") for field, value in given]
    data = prepare(task := task.resolved())
    found = dict(best(shortcuts(data, task.objective.num_documents)))
    audited = _certificate(task, found, data)
    table = _table(task, audited, data, knobs)
    if asked.json:
        print(json.dumps({"task": task.name, "data": data.sha256, **found}, indent=2))
    printer = console(quiet=asked.json)
    printer.print(to_rich([table], [NOTE], width=printer.width))
    paths = _write(table, audited, task, data, root / _stem(task, knobs))
    print_paths(printer, *paths)
    return 0


def _certificate(task: "Task", found: dict[str, float], data: "Dataset") -> "Audit":
    """The record that a report reads: solvers that know no rule, and what made it."""
    from attn.config import to_json
    from attn.records.audits import Audit
    from attn.records.environment import environment

    own = {_own(name): x for name, x in _scored(task, "baselines", data).items()}
    return Audit(to_json(task), data.sha256, {**found, **own}, environment({}))


def _own(name: str) -> str:
    """The name of a task's own baseline in a table."""
    return f"{name.replace('_', ' ')}{OWN}"


def _scored(task: "Task", kind: str, data: "Dataset") -> Mapping[str, float]:
    """The task's own `baselines` or `solvers`; none where they are no accuracies."""
    return getattr(task, kind)(data) if task.metric.name == "accuracy" else {}


def _stem(task: "Task", knobs: Sequence[str]) -> str:
    """The name of the files, cut where it is longer than what disks take."""
    name = "-".join([task.name, *knobs])
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}-{digest}"


def _write(
    table: "Table", audited: "Audit", task: "Task", data: "Dataset", stem: Path
) -> list[Path]:
    """Keeps the table, its certificate, and a picture of examples that are images."""
    from attn.cli.folders import writing
    from attn.plots.tables import write_tables
    from attn.records.audits import write_audit

    with writing(stem.parent):
        paths = write_tables([table], stem, after=[NOTE])
        paths.append(stem.with_name(f"{stem.name}.json"))
        write_audit(audited, paths[-1])
        if task.image is not None:
            from attn.plots.examples import draw_examples
            from attn.plots.style import LIGHT

            paths.append(stem.with_name(f"{stem.name}.png"))
            title = f"{table.title}, test split"
            drawn = draw_examples(data.splits["test"], task.image, title, LIGHT)
            drawn.savefig(paths[-1], metadata={"Software": None})
    return paths


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
    task: "Task", audited: "Audit", data: "Dataset", knobs: Sequence[str]
) -> "Table":
    """Solvers, the task's own baselines and what knows its rule, the best first."""
    from attn.plots.tables import Cell, Column, Row, Table
    from attn.plots.units import metric_label, metric_text
    from attn.records.environment import provenance
    from attn.records.estimates import Estimate

    def cell(value: float) -> Cell:
        shown = metric_text("accuracy", Estimate(value, None, 1), with_n=False)
        return Cell(shown, value)

    columns = (Column("solver", text=True), Column("accuracy, %", raw="accuracy"))
    rows = [
        Row((Cell(name), cell(x)), "baseline" if name.endswith(OWN) else "run")
        for name, x in audited.solvers.items()
    ]
    rows += [
        Row((Cell(f"{name.replace('_', ' ')} (knows the rule)"), cell(x)), "baseline")
        for name, x in _scored(task, "solvers", data).items()
    ]
    rows.sort(key=lambda row: -(row.cells[1].value or 0))
    after = [f"data {data.sha256[:12]}"]
    if task.metric.name != "accuracy":
        after.append(f"its own baselines are in {metric_label(task.metric.name)}")
    note = provenance([audited.environment], ("attn", "numpy"), after=after)
    title = ", ".join([task.name, f"{task.seq_len} tokens", *knobs])
    return Table(title, columns, tuple(rows), note)
