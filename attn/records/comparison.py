"""Comparisons: the runs that belong in one table, and what distinguishes them.

Runs are compared on the same task config and the same data, whoever started them; on data
of a user's own, on the same content. Whatever differs between them (heads, widths, steps) becomes a
column; what does not, does not.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attn.records.knobs import KNOBS, RATE
from attn.records.run import Run

MATCHED = "d_ff"
"""The knob by which models are matched in size."""


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one task, by family and mechanism."""

    title: str
    slug: str
    """The title as a file name; no two groups of a report share it."""
    runs: tuple[Run, ...]

    @property
    def done(self) -> list[Run]:
        """The runs with a score."""
        return [run for run in self.runs if not run.failed]

    @property
    def metric(self) -> str:
        """The task's metric."""
        return (self.done or self.runs)[0].metric

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return (self.done or self.runs)[0].higher_is_better

    @property
    def baselines(self) -> list[tuple[str, float]]:
        """Name and metric of the task's trivial predictors, best first."""
        merged: dict[str, float] = {}
        for run in self.runs:
            merged = {**run.baselines, **merged}
        sign = -1 if self.higher_is_better else 1
        return sorted(merged.items(), key=lambda item: sign * item[1])

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The names of the knobs in which these runs differ.

        Where any is tuned its rate is a result, and has a column of its own.
        """
        return tuple(
            name
            for name, read in KNOBS.items()
            if len({_key(read(run)) for run in self.runs}) > 1
            and not (name == RATE and self.is_tuned)
        )

    @property
    def is_tuned(self) -> bool:
        """Whether a grid of rates was tried for any of these runs."""
        return any(run.result.tuning for run in self.runs)

    @property
    def compares_memory(self) -> bool:
        """Whether scratch memory is of a training step of as many seeds in every run."""
        return len({r.memory_seeds for r in self.runs if r.result.temp_bytes}) < 2

    def knobs(self, run: Run) -> tuple[Any, ...]:
        """The values of `varying` for one run."""
        return tuple(KNOBS[name](run) for name in self.varying)

    def mechanism(self, run: Run) -> str:
        """The mechanism, with those of its knobs in which runs of it differ."""
        return _mechanism_label(run, self.runs)

    @cached_property
    def labels(self) -> Mapping[Path, str]:
        """The label of each run: its mechanism, and what else distinguishes it.

        Rows that would be equal have their names, and where these are, their folders.
        """
        named = {run.directory: self.mechanism(run) for run in self.runs}
        for tell in (lambda run: run.name, self._place):
            rows = Counter((named[run.directory], self.knobs(run)) for run in self.runs)
            for run in self.runs:
                if rows[named[run.directory], self.knobs(run)] > 1:
                    named[run.directory] += f" [{tell(run)}]"
        return named

    def _place(self, run: Run) -> str:
        """The folder's name, with those of as many above it as tell it apart."""
        parts = run.directory.parts
        ends = [other.directory.parts for other in self.runs]
        for n in range(1, len(parts)):
            if sum(end[-n:] == parts[-n:] for end in ends) == 1:
                return "/".join(parts[-n:])
        return str(run.directory)

    @cached_property
    def _full_labels(self) -> Mapping[Path, str]:
        """`labels`, with heads where they vary and each knob that tells two apart.

        The MLP's width comes last: where it was matched it tells apart what others name.
        """
        full = dict(self.labels)
        for name in sorted(self.varying, key=MATCHED.__eq__):
            read = KNOBS[name]
            values: dict[str, set[str]] = {}
            for run in self.runs:
                values.setdefault(full[run.directory], set()).add(_key(read(run)))
            for run in self.runs:
                label = full[run.directory]
                if name == "heads" or len(values[label]) > 1:
                    full[run.directory] = f"{label} · {knob_text(name, read(run))}"
        return full

    def label(self, run: Run) -> str:
        """A label in one line, that no other run of the group has."""
        text = self._full_labels[run.directory]
        if not run.failed:
            return text
        return f"{text} ({'unfinished' if run.unfinished else 'failed'})"


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs by task config and data, in order of task name and length."""
    parts: dict[Hashable, list[Run]] = {}
    for run in sorted(runs, key=Run.order):
        parts.setdefault(_key(_content(run.task)), []).append(run)
    ordered = sorted(parts.values(), key=lambda part: _task_order(part[0]))
    lists = [part for runs in ordered for part in _by_data(runs)]
    titles = _titles(lists)
    slugs: list[str] = []
    for title in titles:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "task"
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs)}")
    return [Group(*parts) for parts in zip(titles, slugs, map(tuple, lists))]


FOUND = ("sha256", "characters", "num_pieces", "labels")
"""Fields that data of a user's own fill in by themselves."""


def _by_data(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one task, apart where their data differ.

    A run that failed before it knew its data is among the others where these have the same.
    """
    hashes = dict.fromkeys(run.data_sha256 for run in runs if run.data_sha256)
    if len(hashes) < 2:
        return [list(runs)]
    parts = [[r for r in runs if r.data_sha256 == data] for data in (*hashes, None)]
    return [part for part in parts if part]


def _titles(lists: Sequence[Sequence[Run]]) -> list[str]:
    """The titles of groups, with the hash of their data where they would repeat."""
    firsts = [runs[0] for runs in lists]
    titles = [_title(run, firsts) for run in firsts]
    hashes = [next(filter(None, (r.data_sha256 for r in part)), "?") for part in lists]
    return [
        title if titles.count(title) == 1 else f"{title}, data {data[:12]}"
        for title, data in zip(titles, hashes)
    ]


def _content(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task without the path of its data, where their content is known."""
    if not task.get("sha256"):
        return task
    return {name: value for name, value in task.items() if name != "data"}


def knob_text(name: str, value: Any) -> str:
    """A knob with its value, as in `8 heads` or `steps 500`."""
    if name == "heads":
        return f"{value} head{'' if value == 1 else 's'}"
    return f"{name} {value}"


def _task_order(run: Run) -> tuple:
    task = run.task
    return str(task.get("is")), task.get("seq_len") or 0, _key(task)


def _title(run: Run, firsts: Sequence[Run]) -> str:
    """The title, as in `mqar, 64 tokens`, unique among tasks of the same name."""
    task = run.task
    same = [other for other in firsts if other.task.get("is") == task.get("is")]
    fields = [
        name
        for name in task
        if name not in ("is", "seq_len", "data", *FOUND)
        and len({_key(other.task.get(name)) for other in same}) > 1
    ]
    text = str(task.get("is", "task"))
    if task.get("data"):
        text += f" {Path(str(task['data'])).name}"
    if task.get("seq_len"):
        text += f", {task['seq_len']} tokens"
    return text + "".join(f", {name} {task[name]}" for name in fields)


def _mechanism_label(run: Run, runs: Sequence[Run]) -> str:
    """The label `window`, or `window (left 7)` beside one of another width."""
    kernels = [other.config["model"].get("kernel") or {} for other in runs]
    mine = run.config["model"].get("kernel") or {}
    same = [kernel for kernel in kernels if kernel.get("is") == mine.get("is")]
    knobs = [n for n in mine if len({_key(kernel.get(n)) for kernel in same}) > 1]
    values = ", ".join(f"{name} {mine[name]}" for name in knobs)
    return f"{run.mechanism} ({values})" if values else run.mechanism


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
