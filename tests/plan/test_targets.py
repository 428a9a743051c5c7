"""Whole training steps, compiled for a TPU and for GPUs that are not here.

Needs packages beyond the extra `test`; CONTRIBUTING.md says which, under "Other machines".
"""

import os
from dataclasses import replace
from functools import cache

import pytest
from packages import need
from tiny import RECALL, TRAIN, experiment_of

from attn.parallel.mesh import MeshShape
from attn.plan.programs import compile_training
from attn.plan.topologies import PACKAGES, topology

# Or libtpu looks for a TPU's metadata, and refuses a second process.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
# Or the plugin for GPUs looks for libraries that compiling does not need.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

TARGETS = ("v5e:2x4", "h200:8")
WIDTH, BLOCKS = 1024, 8


@cache
def compiled(target, shape):
    """A step of a deep and narrow model, whose weights outweigh its states."""
    devices = topology(target)
    need(PACKAGES[devices.chip.platform])
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
    numbers = compiled(target, MeshShape(data=2, heads=4))
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
