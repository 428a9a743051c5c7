"""Twenty steps on every mesh: the losses of one device; and refusals by name."""

import re
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from tiny import RECALL, TRAIN, TREES, calls, exhaustive, experiment_of, random_batch

from attn.config import MLP, Attention, ShortConv
from attn.errors import UserError
from attn.kernels import Linear, Linformer, MoBA, Softmax, StreamingAttention
from attn.parallel.mesh import MeshShape, make_mesh
from attn.train.state import init_state, model_def
from attn.train.step import make_train_step

STEPS = 20
DECODERS = {
    "window": Attention(kernel=StreamingAttention(width=4, num_first=1, sinks=True)),
    "linear": Attention(kernel=Linear()),
}
ENCODERS = {
    "padded": Attention(kernel=Softmax(), positions="alibi"),
    "linformer": Attention(kernel=Linformer(rank=4)),
}


@cache
def losses(names, shape):
    """The losses [STEPS, R] of one model that has these layers, on one batch."""
    known = DECODERS | ENCODERS
    experiment = experiment_of(
        RECALL if names[0] in DECODERS else TREES,
        train=replace(TRAIN, steps=STEPS, warmup_steps=0),
        block=(ShortConv(), *(known[name] for name in names), MLP()),
        num_heads=8,
        head_dim=4,
    )
    experiment.check_mesh(shape)
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        state = init_state(experiment, (0, 1))
        batch = random_batch(experiment.task, (1, 2, 8))
        batch = {key: np.repeat(rows, STEPS, axis=0) for key, rows in batch.items()}
        step = make_train_step(experiment, model_def(experiment))
        return np.asarray(step(state, calls(batch, mesh))[1]["loss"])


CUBE, LINE = MeshShape(2, 2, 2), MeshShape(seq=4)
OTHERS = (
    MeshShape(data=8),
    MeshShape(heads=8),
    MeshShape(data=2, heads=4),
    MeshShape(fsdp=8),
    MeshShape(fsdp=2, heads=4),
    MeshShape(fsdp=2, heads=2, seq=2),
)


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (tuple(DECODERS), CUBE),
        exhaustive(("padded",), LINE),
        exhaustive(("window",), LINE),
        exhaustive(("linear",), LINE),
        exhaustive(tuple(ENCODERS), CUBE),
        *(exhaustive(tuple(DECODERS), shape) for shape in OTHERS),
    ],
    ids=str,
)
def test_a_mesh_gives_the_losses_of_one_device(names, shape):
    alone, divided = losses(names, MeshShape()), losses(names, shape)
    assert (alone[-1] < alone[0]).all()
    np.testing.assert_allclose(divided, alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        ({}, MeshShape(seq=3), "seq = 3 does not divide the sequence length = 16; it"),
        (
            {"kernel": MoBA(block=4, num_blocks=2), "num_heads": 2},
            MeshShape(seq=4),
            "kernel 'moba' on T = 16, S = 16, 2 heads",
        ),
    ],
)
def test_a_sequence_that_cannot_be_divided_is_refused(model, shape, words):
    with pytest.raises(UserError, match=re.escape(words)):
        experiment_of(**model).check_mesh(shape)
