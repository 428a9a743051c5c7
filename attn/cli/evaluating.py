"""The command `evaluate`: finished runs on a split, at another length or on other data."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attn.cli.choosing import Source
from attn.cli.console import console, successes
from attn.cli.writing import written, written_tables
from attn.errors import UserError, unknown

if TYPE_CHECKING:
    from attn.cli.options import Evaluating
    from attn.plots.tables import Table
    from attn.records.run import Run
    from attn.tasks import Task

    Call = Callable[[], dict[str, Any]]


def evaluate(words: Sequence[str], registry: Source) -> int:
    """Evaluates the runs in a folder, with options of their tasks changed."""
    from attn.cli.folders import folder
    from attn.cli.options import Evaluating
    from attn.cli.parsing import parse, split_off

    if not words or words[0].startswith("-"):
        if {"-h", "--help"} & {*words}:
            parse(Evaluating, words, prog="launch.py evaluate DIR")
        raise UserError(
            "evaluate needs the folder of a run, as in `evaluate runs/mine`"
        )
    own, rest = split_off(words[1:], ("split",), flags=("written", "json"))
    asked = parse(Evaluating, own, prog="launch.py evaluate DIR")
    directory = folder("directory", words[0])
    registry()  # a user's file may hold its task

    from attn.plots.terminal import to_rich
    from attn.records.collect import load_all
    from attn.tasks import SPLITS

    if asked.split not in SPLITS:
        raise unknown("split", asked.split, SPLITS)
    runs = [run for run in load_all(directory) if not run.failed]
    if not runs:
        raise UserError(f"{directory} holds no run that has finished")
    if asked.written and rest:
        raise UserError(
            f"evaluate --written scores a run on its own task; leave out {rest[0]}"
        )
    calls = _writing(runs, asked) if asked.written else _scoring(runs, rest, asked)
    rows = list(successes(calls, UserError, "not evaluated"))
    if asked.json:
        print(json.dumps(rows, indent=2))
    else:
        console().print(
            to_rich(written_tables(rows) if asked.written else [_table(rows)])
        )
    return 0


def _writing(runs: "Sequence[Run]", asked: "Evaluating") -> "list[Call]":
    """Calls that write the targets of each run's split, and score them."""
    return [partial(written, run, asked.split, quiet=asked.json) for run in runs]


def _scoring(
    runs: "Sequence[Run]", words: Sequence[str], asked: "Evaluating"
) -> "list[Call]":
    """Calls that score each run on a split of its task, with the options changed."""
    tasks = [_task(run, words) for run in runs]
    return [partial(_evaluated, *each, asked.split) for each in zip(runs, tasks)]


def _task(run: "Run", words: Sequence[str]) -> "Task":
    """The task of a run, with the options that are given."""
    from attn.cli.parsing import override
    from attn.cli.sizes import check_data

    changed, where = override(run.experiment, words, "launch.py evaluate DIR")
    kept = (run.experiment.model, run.experiment.train, run.experiment.seeds)
    if (changed.model, changed.train, changed.seeds) != kept or any(
        vars(where).values()
    ):
        raise UserError(
            "evaluate changes the task alone: --task.seq-len, --task, --split"
        )
    check_data(changed.task)
    return changed.task.resolved()


def _evaluated(run: "Run", task: "Task", split: str) -> dict[str, object]:
    from attn.train.evaluate import evaluate_run

    folders = (run.directory, *run.others)
    parts = [evaluate_run(folder, task, split) for folder in folders]
    return {
        "run": run.name,
        "mechanism": run.mechanism,
        "task": task.name,
        "tokens": task.seq_len,
        "split": split,
        "metric": run.metric,
        "scores": [score for part in parts for score in part[run.metric]],
        "loss": [loss for part in parts for loss in part["loss"]],
    }


def _table(rows: Sequence[dict]) -> "Table":
    """The table of the scores of all runs."""
    from attn.plots.tables import Cell, Column, Row, Table
    from attn.plots.units import metric_label, metric_text
    from attn.records.estimates import estimate

    names = ("run", "mechanism", "task", "tokens", "split")
    columns = (
        *(Column(name, text=True) for name in names),
        Column("metric"),
        Column("score"),
    )
    made = []
    for row in rows:
        score = metric_text(row["metric"], estimate(row["scores"]))
        cells = [Cell(str(row[name])) for name in names]
        made.append(Row((*cells, Cell(metric_label(row["metric"])), Cell(score))))
    return Table("", columns, tuple(made))
