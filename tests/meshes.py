"""Meshes over the CPU's devices, arrays laid over them, and what a program sends."""

import math
import re

import jax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from attn.parallel.mesh import AXES

BTNH, N_ = P("data", None, "heads", None), P("heads")

COLLECTIVES = re.compile(
    r" (all-[\w-]+?|collective-\w+|reduce-scatter|ragged-\w+)(?:-start)?\("
)
KINDS = {"explicit": AxisType.Explicit, "auto": AxisType.Auto}


def make(shape, kind="explicit"):
    data, heads, *seq = shape
    shape = (data, 1, heads, *(seq or [1]))
    devices = jax.devices()[: math.prod(shape)]
    return jax.make_mesh(shape, AXES, axis_types=(KINDS[kind],) * 4, devices=devices)


def placed(moving, still, heads="heads"):
    """The same arrays, divided by batch and heads."""
    specs = {"q": BTNH, "k": P("data", None, heads, None), "kv_mask": P("data", None)}
    specs["v"] = specs["k"]

    def put(name, x):
        return jax.tree.map(lambda leaf: jax.device_put(leaf, specs.get(name, N_)), x)

    return tuple({n: put(n, x) for n, x in part.items()} for part in (moving, still))


def collectives(compiled):
    return COLLECTIVES.findall(compiled.as_text())
