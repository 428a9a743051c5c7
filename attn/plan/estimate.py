"""The plan of an experiment: what a compiler says, of all its layers.

A deep model is compiled with two and with five of its blocks, and what three of them added
is added as often as there are more: every block is the same program. Measured on
`text_softmax` of 8 blocks, width 512 and one seed for `v5e:2x2` under `fsdp=4`, against all 8
compiled (libtpu 0.0.42.1): the bytes of every kind of collective do not differ, scratch memory
is 2 % below, since the compiler schedules a longer program otherwise, and it put the scattered
gradients into 7 operations where the line says 8. `--whole` compiles all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from attn.config import Experiment, cost
from attn.parallel.mesh import MeshShape
from attn.plan.collectives import Collective
from attn.plan.parts import attention_flops
from attn.plan.programs import (
    Numbers,
    compile_attention,
    compile_decoding,
    compile_training,
)
from attn.plan.roofline import Roofline, roofline
from attn.plan.topologies import Topology

What = Literal["train", "decode", "attend"]
"""A training step of all seeds; of one seed, a decoding step, or one layer's attention."""
WHOLE = 5
"""Blocks up to which a model is compiled whole."""
FEW = (2, 5)
"""The numbers of blocks that a deeper one is compiled with."""


@dataclass(frozen=True)
class Plan:
    """The needs of a program on some devices."""

    experiment: Experiment
    topology: Topology
    mesh: MeshShape
    numbers: Numbers
    blocks: tuple[int, ...]
    """The numbers of blocks that were compiled."""
    memory: int | None
    """The bytes of a device; None where they are not known."""
    what: What = "train"

    @property
    def fits(self) -> bool | None:
        """Whether a device holds what it needs; None where that is not known."""
        return None if self.memory is None else self.numbers.total <= self.memory

    @property
    def model_flops(self) -> float | int | None:
        """FLOPs by config, on all devices: of all seeds' training step, or of one `attend`.

        None for decoding, of which a config does not say them.
        """
        if self.what == "train":
            return self.experiment.seeds * cost.train_flops(self.experiment)
        return attention_flops(self.experiment) if self.what == "attend" else None

    @property
    def flops(self) -> float | int:
        """FLOPs of a device: by config, or as the compiler counts where that is more.

        The compiler counts none inside the kernels of libraries.
        """
        own = (self.model_flops or 0) / self.topology.count
        return max(own, self.numbers.flops or 0)

    @cached_property
    def roofline(self) -> Roofline:
        """The least time of a step."""
        dtype = self.experiment.model.dtype
        return roofline(self.numbers, self.topology.chip, self.flops, dtype)


def plan(
    experiment: Experiment,
    topology: Topology,
    mesh: MeshShape,
    *,
    memory: int | None,
    whole: bool = False,
    what: What = "train",
) -> Plan:
    """Compiles the training step of an experiment, or a part of it, for a topology.

    Args:
        memory: the bytes of a device.
        whole: whether all layers are compiled, however many.
    """
    if what == "attend":
        numbers = compile_attention(experiment, topology, mesh)
        return Plan(experiment, topology, mesh, numbers, (), memory, what)
    compiled = compile_training if what == "train" else compile_decoding
    repeats = experiment.model.repeats
    blocks = (repeats,) if whole or repeats <= WHOLE else FEW
    few, *more = [compiled(with_blocks(experiment, n), topology, mesh) for n in blocks]
    numbers = extended(few, more[0], blocks, repeats) if more else few
    return Plan(experiment, topology, mesh, numbers, blocks, memory, what)


def with_blocks(experiment: Experiment, repeats: int) -> Experiment:
    """The experiment with another number of blocks."""
    return replace(experiment, model=replace(experiment.model, repeats=repeats))


def extended(
    few: Numbers, more: Numbers, blocks: tuple[int, ...], repeats: int
) -> Numbers:
    """The numbers of a model of `repeats` blocks, on a line through those of two others."""
    times = (repeats - blocks[0]) / (blocks[1] - blocks[0])

    def line(a: float | int | None, b: float | int | None) -> float | None:
        return None if a is None or b is None else max(0.0, a + (b - a) * times)

    # A compiler's schedule moves scratch memory by more than a block: never less than five's.
    held = {
        name: max(line(few.held[name], more.held[name]) or 0.0, more.held[name])
        for name in few.held
    }
    names = dict.fromkeys([*few.layers, *more.layers])
    layers = {n: line(few.layers.get(n, 0), more.layers.get(n, 0)) for n in names}
    return Numbers(
        held,
        line(few.flops, more.flops),
        line(few.traffic, more.traffic),
        tuple(_extended(few.collectives, more.collectives, times)),
        {name: round(count or 0) for name, count in layers.items()},
        few.seconds + more.seconds,
        few.repeats or more.repeats,
    )


def _extended(
    few: Iterable[Collective], more: Iterable[Collective], times: float
) -> Iterable[Collective]:
    """The collectives of the longer model, those alike in one."""
    a, b = _sums(few), _sums(more)
    for one in dict.fromkeys([*a, *b]):
        (n, size), (n_more, more_size) = a.get(one, (0, 0)), b.get(one, (0, 0))
        count, total = n + (n_more - n) * times, size + (more_size - size) * times
        yield replace(one, count=max(0.0, count), bytes=max(0.0, total))


def _sums(rows: Iterable[Collective]) -> dict[Collective, tuple]:
    return {replace(row, count=0, bytes=0): (row.count, row.bytes) for row in rows}
