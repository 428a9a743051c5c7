"""Whole training steps, compiled for a TPU and for GPUs that are not here.

Needs packages beyond the extra `test`; CONTRIBUTING.md says which, under "Other machines".
"""

import os
from dataclasses import replace
from functools import cache

import naive
import pytest
from meshes import devices_of
from tiny import RECALL, TRAIN, exhaustive, experiment_for, experiment_of

from attn.parallel.mesh import MeshShape
from attn.plan.programs import compile_attention, compile_training

# Or libtpu looks for a TPU's metadata, and refuses a second process.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
# Or the plugin for GPUs looks for libraries that compiling does not need.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

TARGETS = ("v5e:2x4", "h200:8")
WIDTH, BLOCKS = 1024, 8
DIVIDED = MeshShape(data=2, heads=4)
STEPS = [
    (name, target)
    if (name, target) == ("gated_delta", "v5e:2x4")
    else exhaustive(name, target)
    for name in naive.PATHS
    for target in TARGETS
    if name != "softmax"
]
"""Training steps of every mechanism but softmax, whose model below is larger."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", naive.PATHS)
def test_attention_over_batch_and_heads_sends_nothing(name, target):
    experiment = experiment_for(name, num_heads=4)
    numbers = compile_attention(experiment, devices_of(target), DIVIDED)
    assert numbers.collectives == ()


@pytest.mark.parametrize(("name", "target"), STEPS)
def test_a_step_of_every_mechanism_over_batch_and_heads_sends_sums_alone(name, target):
    experiment = experiment_for(name, num_heads=4)
    numbers = compile_training(experiment, devices_of(target), DIVIDED)
    assert {one.kind for one in numbers.collectives} == {"all-reduce"}
    assert {one.axis for one in numbers.collectives} >= {"data", "heads"}


@cache
def compiled(target, shape):
    """A step of a deep and narrow model, whose weights outweigh its states."""
    devices = devices_of(target)
    train = replace(TRAIN, batch_size=8)
    experiment = experiment_of(
        RECALL,
        train=train,
        d_model=WIDTH,
        num_heads=4,
        d_ff=4 * WIDTH,
        repeats=BLOCKS,
    )
    return compile_training(experiment, devices, shape)


@pytest.mark.parametrize("target", TARGETS)
def test_a_training_step_over_batch_and_heads_sends_sums_alone(target):
    numbers = compiled(target, DIVIDED)
    assert {one.kind for one in numbers.collectives} == {"all-reduce"}
    assert {one.axis for one in numbers.collectives} >= {"data", "heads"}


@pytest.mark.parametrize("target", TARGETS)
def test_fsdp_gathers_weights_and_sends_nothing_else_but_sums(target):
    kinds = {
        one.kind.partition(" ")[0]
        for one in compiled(target, MeshShape(fsdp=8)).collectives
    }
    assert "all-gather" in kinds
    assert kinds <= {"all-reduce", "all-gather", "reduce-scatter"}


def test_fsdp_never_holds_all_weights_of_a_tpu():
    divided = compiled(TARGETS[0], MeshShape(fsdp=8))
    # Without the barriers of `attn.model.products` they are gathered before the first
    # layer and kept, which is more than all of them.
    assert divided.held["scratch"] < 8 * divided.held["parameters"] / 3
