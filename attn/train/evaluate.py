"""Evaluation of a state on a split: every row once, all replicas at once."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from attn.config import Experiment
from attn.data.build import prepare
from attn.data.pipeline import eval_batches
from attn.errors import UserError
from attn.objectives import BITS_PER_BYTE
from attn.parallel.mesh import make_mesh
from attn.parallel.processes import place
from attn.parallel.rules import batch_parts, spec
from attn.records.files import read_json_or_none
from attn.records.folder import RunFolder
from attn.records.identity import experiment_of
from attn.tasks.base import Dataset, Task
from attn.train.checkpoint.restore import (
    checkpoints_of,
    require_end,
    restore_state,
)
from attn.train.state import ModelDef, State, init_state, model_def
from attn.train.step import make_eval_step

MOST_ROWS = 256
MOST_TOKENS = 65_536
"""Tokens of a batch, so that long rows need no more memory than short ones."""


class Evaluator:
    """Computes each metric of a state on a split, as a list over replicas."""

    def __init__(
        self, experiment: Experiment, model: ModelDef, data: Dataset, mesh: Mesh
    ):
        self.objective = experiment.task.objective
        self.splits = data.splits
        self.step = make_eval_step(self.objective, model)
        self.batch_size = rows_at_once(experiment.task)
        self.sharding = NamedSharding(mesh, spec("B"))

    def __call__(self, state: State, split: str) -> dict[str, Any]:
        totals: dict[str, Any] = {}
        for batch in eval_batches(self.splits[split], self.batch_size):
            sums = self.step(state, place(batch, self.sharding))
            totals = {
                k: totals.get(k, 0.0) + np.asarray(x, np.float64)
                for k, x in sums.items()
            }
        scores = self.objective.metrics(totals)
        return {name: values.tolist() for name, values in scores.items()}


def rows_at_once(task: Task) -> int:
    """The rows of a batch of each seed, which the mesh divides."""
    fit = MOST_TOKENS // (task.seq_len + task.source_len)
    return math.lcm(min(max(fit, 1), MOST_ROWS), batch_parts())


def evaluate_run(folder: Path, task: Task, split: str) -> dict[str, list[float]]:
    """Evaluates all seeds of a finished run on a split of a task, at its own length.

    Raises:
        UserError: the weights do not fit the task, or are not there.
    """
    experiment = experiment_of(RunFolder(folder).config() or {})
    other = _on(experiment, task)
    data = prepare(task)
    require_same_data(folder, experiment.task, task, data)
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        restored = restore_state(experiment, checkpoints_of(experiment, folder), mesh)
        if restored is None:
            raise UserError(f"{folder} holds no checkpoint; run it again")
        require_end(folder, restored)
        state = State(**restored.state)
        _require_fit(folder, state, other)
        return Evaluator(other, model_def(other), data, mesh)(state, split)


def _on(experiment: Experiment, task: Task) -> Experiment:
    """The experiment on another task, with the vocabulary of its own."""
    before = experiment.task
    bytes_both = task.metric == before.metric == BITS_PER_BYTE
    alike = task.name == before.name or bytes_both
    known = ("vocabulary", "characters", "num_pieces", "labels", "num_classes")
    if not bytes_both:
        alike &= all(getattr(task, n, None) == getattr(before, n, None) for n in known)
        alike = alike and _tokens(task) == _tokens(before)
    if not alike or task.objective != before.objective:
        raise UserError(
            f"{experiment.name} was trained on {before.name!r}, whose tokens or classes "
            f"mean something else on this {task.name!r}; choose data of the same "
            "vocabulary and labels"
        )
    _require_same_splits(experiment.name, before, task)
    vocab_size = experiment.resolved_model.vocab_size
    return replace(
        experiment, task=task, model=replace(experiment.model, vocab_size=vocab_size)
    )


def _require_same_splits(name: str, before: Task, task: Task) -> None:
    """Raises `UserError` where the same data are split otherwise than in training."""
    data = [
        {getattr(one, name, None) for name in ("sha256", "data")}
        for one in (before, task)
    ]
    if task.name != before.name or data[0].isdisjoint(data[1]):
        return
    for field in task.split_fields:
        there, here = getattr(before, field), getattr(task, field)
        if there != here:
            raise UserError(
                f"{name} was trained at {field} = {there}, and {here} moves rows of "
                f"{task.name!r} from one split to another, so that rows of its training "
                "would be scored; leave it as it was"
            )


def require_same_data(folder: Path, before: Task, task: Task, data: Dataset) -> None:
    """Raises `UserError` where the data of the training are split otherwise today."""
    ended = (read_json_or_none(folder / "result.json") or {}).get("dataset") or {}
    version = str(ended.get("builder", "")).rpartition("/")[2]
    known = task.name == before.name and bool(version)
    other = task == before and ended.get("sha256") != data.sha256
    if known and (version != task.version or other):
        raise UserError(
            f"{folder} was trained on other data ({version}, "
            f"{ended.get('sha256', '')[:12]}; now {task.version}, {data.sha256[:12]}), of "
            "which some may be in this split; train it again"
        )


def _tokens(task: Task) -> list[str]:
    """Every token in readable form."""
    return [task.label(token) for token in range(task.vocab_size)]


def _require_fit(folder: Path, state: State, experiment: Experiment) -> None:
    """Raises `UserError` where a weight has another shape on this task."""
    wanted = jax.eval_shape(lambda: init_state(experiment, experiment.seed_numbers))
    for there, here in (
        (state.params, wanted.params),
        (state.features, wanted.features),
    ):
        for name in sorted(there.keys() | here.keys()):
            shapes = [
                of[name].shape[1:] if name in of else None for of in (there, here)
            ]
            if shapes[0] != shapes[1]:
                raise UserError(
                    f"{folder}: its weight {name} has the shape {shapes[0]}, and "
                    f"{shapes[1]} is wanted at {experiment.task.seq_len} tokens of "
                    f"{experiment.task.name!r}; this model has a length of its own"
                )
