"""Comparisons: the runs that belong in one table, and what distinguishes them.

Runs are compared only on the same task config, within the same study. Whatever
differs between them (heads, widths, steps) becomes a column; what does not, does not.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from attn.config import ModelConfig
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.records.run import Run


def _size(
    name: str, derive: Callable[[Mapping[str, Any]], Any]
) -> Callable[[Run], Any]:
    """The width that the run resolved; from its config when it failed before that."""

    def read(run: Run) -> Any:
        model = run.config["model"]
        for value in (getattr(run.result, name, None), model.get(name)):
            if value is not None:
                return value
        return derive(model)

    return read


def _head_width(model: Mapping[str, Any]) -> int | None:
    width, heads = model.get("d_model"), model.get("num_heads")
    return width // heads if width and heads else None


def _layers(run: Run) -> str:
    model = run.config["model"]
    own = [f"{layer.get('is')}{_knobs(layer)}" for layer in model.get("block") or ()]
    block, repeats = (
        " ".join(own or model.get("pattern") or ()),
        model.get("repeats", 1),
    )
    return block if repeats == 1 else f"{block} x {repeats}"


def _knobs(layer: Mapping[str, Any]) -> str:
    """The fields that a layer sets, as in `(kernel window, num_heads 2)`."""
    said = []
    for name, value in layer.items():
        if name != "is" and value is not None:
            kind = value.get("is") if isinstance(value, Mapping) else value
            said.append(f"{name} {kind}")
    return f"({', '.join(said)})" if said else ""


def _modelled(name: str, default: Any = None) -> Callable[[Run], Any]:
    return lambda run: run.config["model"].get(name, default)


def _trained(name: str, default: Any = None) -> Callable[[Run], Any]:
    return lambda run: run.config.get("train", {}).get(name, default)


def _spec(name: str, default: str) -> Callable[[Run], Any]:
    """The name of an optimizer or schedule, with its knobs that are not usual."""

    def read(run: Run) -> str:
        values = dict(run.config.get("train", {}).get(name) or {"is": default})
        known = TRAINING.get(values["is"])  # a newer version may have more
        usual = fields(known) if known else ()
        knobs = {f.name: values.get(f.name, f.default) for f in usual}
        words = [
            f"{f.name}={knobs[f.name]}" for f in usual if knobs[f.name] != f.default
        ]
        return " ".join([values["is"], *words])

    return read


heads_of = _size("num_heads", lambda model: None)
_kv_heads = _size("num_kv_heads", lambda model: model.get("num_heads"))

TRAINING = OPTIMIZERS | SCHEDULES

KNOBS: Mapping[str, Callable[[Run], Any]] = {
    "heads": heads_of,
    "kv heads": lambda run: (
        _kv_heads(run) if _kv_heads(run) != heads_of(run) else "same"
    ),
    "head dim": _size("head_dim", _head_width),
    "kv rank": _modelled("kv_rank"),
    "rope dim": _modelled("rope_dim"),
    "rope base": _modelled("rope_base", ModelConfig.rope_base),
    "d_model": _size("d_model", lambda model: None),
    "d_ff": _size("d_ff", lambda model: 4 * model.get("d_model", 0) or None),
    "layers": _layers,
    "conv width": _modelled("conv_width", 3),
    "positions": _modelled("positions"),
    "causal": _modelled("causal", False),
    "dtype": _modelled("dtype"),
    "dropout": _modelled("dropout", 0.0),
    "steps": _trained("steps"),
    "batch": _trained("batch_size"),
    "peak lr": _trained("peak_lr"),
    "warm-up": _trained("warmup_steps"),
    "weight decay": _trained("weight_decay"),
    "clip norm": _trained("clip_norm"),
    "optimizer": _spec("optimizer", "adamw"),
    "schedule": _spec("schedule", "cosine"),
    "parts": _trained("accumulate", 1),
}


@dataclass(frozen=True)
class Group:
    """The runs of one task in one study, by family and mechanism."""

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
        """The names of the knobs in which these runs differ."""
        return tuple(
            name
            for name, read in KNOBS.items()
            if len({_key(read(run)) for run in self.runs}) > 1
        )

    def knobs(self, run: Run) -> tuple[Any, ...]:
        """The values of `varying` for one run."""
        return tuple(KNOBS[name](run) for name in self.varying)

    @cached_property
    def labels(self) -> Mapping[Path, str]:
        """The label of each run: its mechanism, and what else distinguishes it."""
        named = {run.directory: _mechanism_label(run, self.runs) for run in self.runs}
        rows = Counter((named[run.directory], self.knobs(run)) for run in self.runs)
        for run in self.runs:
            if rows[named[run.directory], self.knobs(run)] > 1:
                named[run.directory] += f" [{run.name}]"
        return named

    def label(self, run: Run) -> str:
        """A label in one line: the run's, with its heads where they vary."""
        text, heads = self.labels[run.directory], heads_of(run)
        if "heads" in self.varying:
            text += f" · {heads} head{'' if heads == 1 else 's'}"
        return f"{text} (failed)" if run.failed else text


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs by task config and study, in order of task name, length and study."""
    parts: dict[Hashable, list[Run]] = {}
    for run in sorted(runs, key=Run.order):
        parts.setdefault((_key(run.task), run.study), []).append(run)
    lists = sorted(parts.values(), key=lambda part: _task_order(part[0]))
    titles = [_title(part[0], [other[0] for other in lists]) for part in lists]
    slugs: list[str] = []
    for title in titles:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "task"
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs)}")
    return [Group(*parts) for parts in zip(titles, slugs, map(tuple, lists))]


def _task_order(run: Run) -> tuple:
    task = run.task
    length = task.get("seq_len") or 0
    return str(task.get("is")), length, _key(task), run.study or ""


def _title(run: Run, firsts: Sequence[Run]) -> str:
    """The title, as in `mqar, 64 tokens`, unique among tasks of the same name."""
    task = run.task
    same = [other for other in firsts if other.task.get("is") == task.get("is")]
    fields = [
        name
        for name in task
        if name not in ("is", "seq_len")
        and len({_key(other.task.get(name)) for other in same}) > 1
    ]
    text = str(task.get("is", "task"))
    if task.get("seq_len"):
        text += f", {task['seq_len']} tokens"
    text += "".join(f", {name} {task[name]}" for name in fields)
    studies = {other.study for other in same if _key(other.task) == _key(task)}
    return f"{text}, {run.study or 'single runs'}" if len(studies) > 1 else text


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
