"""Meshes that cannot be are refused; those that can give the same run, by sums alone."""

import re
from dataclasses import replace
from functools import cache

import jax
import naive
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    RECALL,
    TRAIN,
    TREES,
    calls,
    exhaustive,
    experiment_of,
    random_batch,
)

from attn.config import MLP, Attention, ShortConv
from attn.config.optimizers import OPTIMIZERS
from attn.errors import UserError
from attn.kernels import KERNELS
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.rules import spec
from attn.train.state import init_state, model_def
from attn.train.step import make_train_step

FORBIDDEN = (
    "all-gather all-to-all collective-permute reduce-scatter collective-broadcast"
)
SEEDS = (0, 1, 2)


def test_axes_that_are_not_named_have_size_one():
    assert MeshShape.parse("") == MeshShape(1, 1)
    assert MeshShape.parse("heads=4") == MeshShape(1, 4)
    assert MeshShape.parse("data=2, heads=4") == MeshShape(2, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("head=4", "unknown mesh axis 'head'; did you mean 'heads'"),
        ("data", "write data=2"),
        ("data=two", "'data=two': write data=2"),
        ("data=-1", "write data=2"),
        ("data=0", "mesh data = 0; at least 1"),
        ("data=2,data=4", "names data twice"),
    ],
)
def test_a_mesh_that_cannot_be_read_is_refused(text, words):
    with pytest.raises(UserError, match=re.escape(words)):
        MeshShape.parse(text)


@pytest.mark.parametrize(
    ("shape", "model", "words"),
    [
        (
            MeshShape(1, 3),
            {"num_heads": 4},
            "heads = 3 does not divide num_heads = 4; it can be 1, 2, 4",
        ),
        (
            MeshShape(1, 3),
            {"num_heads": 6, "head_dim": 4, "num_kv_heads": 2},
            "heads = 3 and num_kv_heads = 2: one must divide the other; it can be 1, 2, 6",
        ),
        (
            MeshShape(3, 1),
            {},
            "data = 3 does not divide batch_size = 8; it can be 1, 2, 4, 8",
        ),
        (
            MeshShape(1, 4),
            {"num_heads": 4, "d_ff": 30},
            "d_ff = 30; it can be 1, 2, 3, 5",
        ),
        (
            MeshShape(data=96),
            {"train": replace(TRAIN, batch_size=5040)},
            "batch_size = 5040; it can be 63, 70, 72, 80, 84, 90, 105, 112, 120, 126, 140, 144",
        ),
    ],
)
def test_a_mesh_that_does_not_divide_the_model_is_refused(shape, model, words):
    with pytest.raises(UserError, match=re.escape(words)):
        experiment_of(**model).check_mesh(shape)


def test_a_part_of_a_batch_that_the_mesh_does_not_divide_is_refused():
    experiment = experiment_of(train=replace(TRAIN, accumulate=TRAIN.batch_size))
    with pytest.raises(UserError, match=r"batch_size / accumulate = 1"):
        experiment.check_mesh(MeshShape(2, 1))


def test_a_mesh_that_divides_the_model_is_not_refused():
    experiment_of().check_mesh(MeshShape(8, 2))
    attention = experiment_of(num_heads=4, d_ff=30, pattern=("attention",))
    attention.check_mesh(MeshShape(1, 4))


def test_a_mesh_wants_as_many_devices_as_it_has_places():
    with pytest.raises(
        UserError, match="data=4,heads=4 needs 16 devices, and there are 8"
    ):
        make_mesh(MeshShape(4, 4))


def test_two_dimensions_of_an_array_do_not_share_an_axis():
    with jax.set_mesh(make_mesh(MeshShape(seq=2, heads=4))):
        assert spec("B N T L") == P(None, "heads", "seq", None)
        with pytest.raises(ValueError, match="T and S lie along 'seq'"):
            spec("B N T S")
    with jax.set_mesh(make_mesh()):
        assert spec("B N T S") == P(None, None, None, None)


def test_a_vocabulary_that_the_mesh_cannot_divide_is_replicated():
    with jax.set_mesh(make_mesh(MeshShape(heads=4))):
        assert spec("V D", (12, 5)) == P("heads", None)
        assert spec("V D", (13, 5)) == P(None, None)


DECODERS = [name for name in naive.SPECS if "causal" in KERNELS[name].can]
MASKS = tuple(name for name in naive.SPECS if name not in naive.PATHS)
STEPS = 6


@pytest.mark.parametrize(
    "rule",
    [r if name == "muon" else exhaustive(r, id=name) for name, r in OPTIMIZERS.items()],
)
def test_a_mesh_changes_no_optimizer(rule):
    train = replace(TRAIN, steps=3, warmup_steps=0, optimizer=rule(), accumulate=2)
    experiment = experiment_of(RECALL, train=train, num_heads=4)
    losses = []
    for shape in (MeshShape(), MeshShape(2, 2, fsdp=2)):
        mesh = make_mesh(shape)
        with jax.set_mesh(mesh):
            step = make_train_step(experiment, model_def(experiment))
            batch = calls(random_batch(experiment.task, (3, 3, 8)), mesh)
            losses.append(step(init_state(experiment, SEEDS), batch)[1]["loss"])
    np.testing.assert_allclose(*map(np.asarray, losses), rtol=1e-6)


@cache
def trained(names, data, heads, kv_heads):
    """Losses of some steps [STEPS, R], and the text of the compiled program.

    Mechanisms are layers of one model, so that one program asks all of them.
    """
    layers = tuple(Attention(kernel=naive.SPECS[name]) for name in names)
    experiment = experiment_of(
        RECALL if names[0] in DECODERS else TREES,
        train=replace(TRAIN, steps=STEPS, warmup_steps=0),
        block=(ShortConv(), *layers, MLP()),
        num_heads=8,
        num_kv_heads=kv_heads,
        head_dim=4,
    )
    experiment.check_mesh(MeshShape(data, heads))
    mesh = make_mesh(MeshShape(data, heads))
    with jax.set_mesh(mesh):
        state = init_state(experiment, SEEDS)
        # One batch for all steps, so that the loss has far to fall.
        batch = random_batch(experiment.task, (1, 3, 8))
        batch = {key: np.repeat(rows, STEPS, axis=0) for key, rows in batch.items()}
        batch = calls(batch, mesh)
        step = make_train_step(experiment, model_def(experiment))
        compiled = step.lower(state, batch).compile()
        _, metrics = compiled(state, batch)
    return np.asarray(metrics["loss"]), compiled.as_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "data", "heads", "kv_heads"),
    [
        pytest.param(("softmax", "linear", "retention"), 2, 4, 8, id="decoders"),
        exhaustive(("linformer",), 2, 4, 8, id="encoder"),
        exhaustive(("softmax",), 8, 1, 8, id="softmax-8x1-kv8"),
        exhaustive(("softmax",), 1, 8, 8, id="softmax-1x8-kv8"),
        exhaustive(("softmax",), 4, 2, 2, id="softmax-4x2-kv2"),
        exhaustive(("softmax",), 2, 4, 1, id="softmax-2x4-kv1"),
        exhaustive(MASKS, 2, 4, 8, id="masks-2x4-kv8"),
        *(exhaustive((name,), 2, 4, 8, id=f"{name}-2x4-kv8") for name in naive.PATHS),
    ],
)
def test_a_mesh_gives_the_losses_of_one_device_by_all_reduce_alone(
    names, data, heads, kv_heads
):
    losses, text = trained(names, data, heads, kv_heads)
    assert "all-reduce" in text
    found = [word for word in FORBIDDEN.split() if f" {word}" in text]
    assert not found
    alone, _ = trained(names, 1, 1, kv_heads)
    assert (losses[-1] < losses[0]).all()
    # Rounding grows from step to step.
    np.testing.assert_allclose(losses[:4], alone[:4], rtol=1e-5, atol=0)
    np.testing.assert_allclose(losses, alone, rtol=1e-4, atol=0)
