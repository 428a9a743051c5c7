"""Programs compiled for devices that are not here, and what their compiler tells.

TPU programs are compiled with less effort for their speed (`OPTIONS`), which takes a third
of the time: what is planned here is memory, products and communication.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from attn.attention.choose import by_layer, recording
from attn.config import Experiment
from attn.errors import Failed, UserError
from attn.parallel.mesh import AXES, MeshShape
from attn.plan.collectives import Collective, collectives
from attn.plan.parts import Lowered, check_decoding, lower_attention, lower_decoding
from attn.plan.text import Program
from attn.plan.topologies import Topology
from attn.train.memory import lower, memory_of

OPTIONS: dict[str, Any] = {"tpu": {"exec_time_optimization_effort": -1.0}}
"""Options of the compiler, by platform."""
OFFLOADED = (
    *("all_gather", "2d_all_gather", "3d_all_gather", "all_reduce"),
    *("reduce_scatter", "nd_reduce_scatter"),
)
CHIP_OPTIONS: dict[str, dict[str, Any]] = {
    "tpu7x": {
        f"xla_tpu_enable_sparse_core_collective_offload_{name}": False
        for name in OFFLOADED
    }
}
"""Options by chip: libtpu 0.0.42.1 ends its process where it gives a tpu7x's collectives to
SparseCores (`7b` on tpu7x:4x4x8, a failed check in `offload_collective_strategies`)."""


class TooLarge(Failed):
    """A program for which its compiler finds no room on a device."""


@dataclass(frozen=True)
class Numbers:
    """The needs of one compiled program, a device."""

    held: Mapping[str, float]
    """Bytes by kind: parameters, optimizer, other state, cache, batch, padding of layouts,
    outputs beside the state, scratch."""
    flops: float | None
    """FLOPs that the compiler counts, without those inside kernels of libraries."""
    traffic: float | None
    """Bytes that operations read and write, as the compiler counts, likewise."""
    collectives: tuple[Collective, ...]
    layers: Mapping[str, int]
    """How many layers got each mechanism and implementation, as in `softmax: splash`."""
    seconds: float
    """The time to trace, lower and compile."""
    repeats: bool = False
    """Whether a loop turns more than once, of which the compiler counts one turn."""

    @property
    def total(self) -> float | int:
        """All bytes that are held at once."""
        return sum(self.held.values())


def mesh_on(topology: Topology, shape: MeshShape) -> Mesh:
    """The mesh of a shape over the first devices of a topology."""
    devices = np.array(topology.devices()[: shape.size])
    devices = devices.reshape([getattr(shape, n) for n in AXES])
    return Mesh(devices, AXES, axis_types=(AxisType.Explicit,) * len(AXES))


def compile_training(
    experiment: Experiment, topology: Topology, shape: MeshShape
) -> Numbers:
    """Compiles the training step, of all seeds, with its optimizer."""

    def made() -> Lowered:
        step = lower(experiment, experiment.seed_numbers)
        state = step.state
        kinds = {
            "parameters": state.params,
            "optimizer": state.opt_state,
            "other state": (state.step, state.features, state.key),
            "batch": step.batch,
        }
        return Lowered(step.lowered, kinds)

    return _compiled(made, topology, shape)


def compile_attention(
    experiment: Experiment, topology: Topology, shape: MeshShape
) -> Numbers:
    """Compiles the first attention layer's `attend`, forward and backward."""
    return _compiled(lambda: lower_attention(experiment), topology, shape)


def compile_decoding(
    experiment: Experiment, topology: Topology, shape: MeshShape
) -> Numbers:
    """Compiles one decoding step of a batch.

    Raises:
        UserError: the model does not decode, or not on this mesh.
    """
    check_decoding(experiment, shape)
    return _compiled(lambda: lower_decoding(experiment), topology, shape)


def _compiled(
    made: Callable[[], Lowered], topology: Topology, shape: MeshShape
) -> Numbers:
    """Compiles what is lowered under a mesh, and says what its compiler tells."""
    start = time.perf_counter()
    with jax.set_mesh(mesh_on(topology, shape)), recording() as choices:
        step = _lowered(made, topology)
        compiled = _compile(step.lowered, topology, shape)
    seconds = time.perf_counter() - start
    chosen = by_layer(choices).values()
    counted = Counter(f"{one.kernel}: {one.implementation}" for one in chosen)
    return _numbers(compiled, step.kinds, topology, shape, counted, seconds)


def _lowered(made: Callable[[], Lowered], topology: Topology) -> Lowered:
    """Lowers a program; jax looks for cuDNN itself where attention is to run on it."""
    try:
        return made()
    except RuntimeError as error:
        if not str(error).startswith("cuDNN "):
            raise
        raise UserError(
            f"--on {topology.name} chooses cuDNN, which is not installed; run: pip install "
            "--no-deps nvidia-cudnn-cu13 nvidia-cublas"
        ) from None


def _compile(
    lowered: jax.stages.Lowered, topology: Topology, shape: MeshShape
) -> jax.stages.Compiled:
    """Compiles a program; TPUs' compiler refuses one that is larger than their memory."""
    try:
        chip = topology.chip
        own = OPTIONS.get(chip.platform, {}) | CHIP_OPTIONS.get(chip.name, {})
        return lowered.compile(own or None)
    except jax.errors.JaxRuntimeError as error:
        code, _, reason = str(error).partition(": ")
        if code != "RESOURCE_EXHAUSTED":
            raise
        raise TooLarge(
            f"{topology.name}, mesh {shape}: {(reason.splitlines() or [code])[0].rstrip('.')}; divide more "
            "(--mesh with fsdp or heads, or more devices), or train with seq, "
            "--model.remat or --train.accumulate"
        ) from None


def _numbers(
    compiled: jax.stages.Compiled,
    kinds: Mapping[str, Any],
    topology: Topology,
    shape: MeshShape,
    layers: Mapping[str, int],
    seconds: float,
) -> Numbers:
    """Collects what a compiler tells of a program with these kinds of arguments."""
    memory, cost = memory_of(compiled), compiled.cost_analysis() or {}
    held = {name: _bytes(tree) for name, tree in kinds.items()}
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held["padding"] = memory.argument_size_in_bytes - sum(held.values())
    held["outputs"] = float(outputs)
    held["scratch"] = float(memory.temp_size_in_bytes)
    sizes, text = {name: getattr(shape, name) for name in AXES}, _text(compiled)
    return Numbers(
        held,
        _known(cost.get("flops")),
        _known(cost.get("bytes accessed")),
        collectives(text, sizes, topology.on_a_host),
        layers,
        seconds,
        Program.of(text).repeats,
    )


def _text(compiled: jax.stages.Compiled) -> str:
    """The text of a compiled program.

    Raises:
        UserError: the compiler is of another version than jax, which cannot read it.
    """
    try:
        return compiled.as_text() or ""
    except jax.errors.JaxRuntimeError:
        raise UserError(
            f"jax {jax.__version__} cannot read what the installed libtpu compiled; install "
            f"the one that it names: pip install 'jax[tpu]=={jax.__version__}'"
        ) from None


def _known(value: float | int | None) -> float | None:
    """A number that a compiler gives, unless it is none."""
    return float(value) if value and value > 0 else None


def _bytes(tree: Any) -> float:
    """The bytes of a device's part of all arrays of a tree."""
    return float(sum(map(_bytes_of, jax.tree.leaves(tree))))


def _bytes_of(x: jax.ShapeDtypeStruct) -> float:
    shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
    return float(np.prod(shape)) * x.dtype.itemsize
