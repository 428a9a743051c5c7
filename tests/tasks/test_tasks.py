"""What holds for every task of the table."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attn
from attn.errors import UserError
from attn.tasks import SPLITS, TASKS, Task
from attn.tasks.pairs import Pairs

HEAVY = "flax optax tensorflow_datasets grain sklearn matplotlib pydoc_data.topics"


@pytest.fixture(params=TASKS.values(), ids=TASKS.keys())
def task(request, own_tasks, tiny_packages, made_speeches) -> Task:
    pytest.importorskip("sklearn")
    if request.param.name in own_tasks:
        return own_tasks[request.param.name]
    if request.param.name == "dates":
        pytest.importorskip("babel")
    if issubclass(request.param, Pairs):
        request.getfixturevalue("tiny_pairs")
        request.getfixturevalue("few_sources")
    small = {"num_train": 200, "num_valid": 20, "num_test": 20, "num_dates": 400}
    names = {field.name for field in dataclasses.fields(request.param)}
    return request.param(**{k: v for k, v in small.items() if k in names})


def test_tokens_and_targets_are_within_the_vocabulary(task):
    for split in ("train", "valid", "test"):
        rows = task.rows(split)
        assert rows["tokens"].shape[1] == task.seq_len
        assert rows["tokens"].max() < task.vocab_size
        assert rows["targets"].max() < task.num_classes


def test_keys_are_those_of_the_readout(task):
    keys = {"tokens", "targets"}
    scored = getattr(task.objective, "scored", "all")
    keys |= {"positions"} if scored == "positions" else set()
    keys |= {"lengths"} if task.padded else set()
    keys |= {"source", "source_lengths"} if task.objective.reads_source else set()
    rows = task.rows("test")
    assert rows.keys() - {"weights"} == keys
    assert rows.get("weights", np.ones(1)).any()


def test_scored_positions_are_as_many_as_targets(task):
    rows = task.rows("test")
    at = rows.get("positions")
    scored = task.objective.num_scored(task.seq_len) if at is None else at.shape[1]
    assert rows["targets"].shape[1] == scored == task.num_scored


def test_examples_are_the_rows_one_by_one(task):
    rows = task.rows("valid")
    examples = list(task.examples("valid"))
    assert len(examples) == len(rows["tokens"])
    np.testing.assert_array_equal(examples[-1]["tokens"], rows["tokens"][-1])


def read_in(rows):
    """What is read of each row, as bytes."""
    keys = [key for key in ("source", "tokens") if key in rows]
    return [b"".join(x.tobytes() for x in row) for row in zip(*(rows[k] for k in keys))]


ANEW = {"speeches", "dates", "text"}
"""Tasks whose rows are drawn or cut anew, so that what moves is in no equal row."""


CHANGED = {"data_seed": 1, "held_out": 0.3, "num_train": 12, "num_valid": 6}


def test_the_fields_that_move_rows_between_splits_are_declared(task):
    names = {field.name for field in dataclasses.fields(task)}
    task = dataclasses.replace(
        task, **{"num_train": 24} if "num_train" in names else {}
    )
    before = {row: split for split in SPLITS for row in read_in(task.rows(split))}
    for field in CHANGED.keys() & names:
        other = dataclasses.replace(task, **{field: CHANGED[field]})
        moved = any(
            before.get(row, split) != split
            for split in SPLITS
            for row in read_in(other.rows(split))
        )
        declared = field in task.split_fields
        assert moved == declared or (declared and task.name in ANEW), field
    assert {*task.split_fields} <= names


def test_an_unknown_split_is_named(task):
    with pytest.raises(UserError, match="unknown split 'tset'; did you mean 'test'"):
        task.rows("tset")


@pytest.mark.slow
def test_tasks_can_be_listed_without_loading_anything_heavy():
    code = f"import sys, attn.tasks; print([m for m in '{HEAVY}'.split() if m in sys.modules])"
    root = Path(attn.__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True
    )
    assert out.stdout.strip() == "[]", out.stderr
