"""Whole training steps, compiled for a TPU and for GPUs that are not here.

Needs packages beyond the extra `test`; CONTRIBUTING.md says which, under "Other machines".
"""

import os
from dataclasses import replace
from functools import cache, partial

import naive
import pytest
from meshes import collectives, compile_for, described, devices_of
from packages import need
from tiny import RECALL, TRAIN, exhaustive, experiment_for, experiment_of, paths

from attn.attention import attend, recording
from attn.errors import UserError
from attn.kernels import Softmax
from attn.masks import FULL, Causal
from attn.parallel.mesh import MeshShape
from attn.parallel.support import SENT
from attn.plan.programs import compile_attention, compile_training

# Or libtpu looks for a TPU's metadata, and refuses a second process.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
# Or the plugin for GPUs looks for libraries that compiling does not need.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

TARGETS = ("v5e:2x4", "h200:8")
"""Those for which every mechanism is compiled."""
OTHERS = ("v6e:2x4", "v5p:2x2x2", "tpu7x:2x2x1", "h100:8", "b200:8")
WIDTH, BLOCKS = 1024, 8
DIVIDED = MeshShape(data=2, heads=4)
STEPS = [
    (name, target)
    if (name, target) == ("gated_delta", "v5e:2x4")
    else exhaustive(name, target)
    for name in naive.SPECS
    for target in TARGETS
    if name != "softmax"
]
"""Training steps of every mechanism but softmax, whose model below is larger."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", paths(naive.SPECS))
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


@pytest.mark.parametrize("target", [exhaustive(target) for target in OTHERS])
def test_a_step_compiles_for_every_other_device(target):
    experiment = experiment_for("softmax", num_heads=4)
    shape = MeshShape(data=2, fsdp=2, heads=2)
    found = compile_training(experiment, devices_of(target), shape).collectives
    along = {(one.kind, axis) for one in found for axis in one.axis.split("+")}
    sums = {("all-reduce", "data"), ("all-reduce", "heads")}
    assert along >= {("all-gather", "fsdp")} | sums


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


SERVED = [
    exhaustive("splash", "v5e:2x2", "all_gather", FULL, "tpu_custom_call"),
    exhaustive("tokamax", "h200:4", "all_gather", FULL, "__gpu$xla.gpu.triton"),
    exhaustive("tokamax", "h200:4", "all_to_all", Causal(), "__gpu$xla.gpu.triton"),
]
REFUSED = [
    exhaustive("splash", "v5e:2x2", "ring", FULL, "lse"),
    exhaustive("splash", "v5e:2x2", "ring", Causal(), "lse, positions"),
    exhaustive("splash", "v5e:2x2", "all_gather", Causal(), "positions"),
    exhaustive("tokamax", "h200:4", "ring", FULL, "lse"),
    exhaustive("tokamax", "h200:4", "ring", Causal(), "lse, positions"),
    exhaustive("tokamax", "h200:4", "all_gather", Causal(), "positions"),
]


def divided(name, target, strategy, mask):
    """The program of a library's kernel on four devices, each with a part of the sequence."""
    if name == "tokamax":
        need(name)
    mesh = described(target, heads=1, seq=4)
    how = {"mask": mask, "impl": name, "strategy": strategy}
    return compile_for(mesh, partial(attend, Softmax(), **how), T=1024, H=64)


@pytest.mark.filterwarnings("ignore:jax.experimental.pallas.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "target", "strategy", "mask", "called"), SERVED, ids=str
)
def test_a_librarys_kernel_serves_a_divided_sequence(
    name, target, strategy, mask, called
):
    with recording() as found:
        program = divided(name, target, strategy, mask)
    assert {one.implementation for one in found} >= {f"{strategy} of {name}"}
    assert f'custom_call_target="{called}"' in program.as_text()
    assert set(collectives(program)) == set(SENT[strategy])


@pytest.mark.parametrize(
    ("name", "target", "strategy", "mask", "lacks"), REFUSED, ids=str
)
def test_a_librarys_kernel_is_refused_what_a_divided_sequence_needs(
    name, target, strategy, mask, lacks
):
    with pytest.raises(UserError, match=f"impl = '{name}': asked for {lacks};"):
        divided(name, target, strategy, mask)
