"""Meshes over the CPU's devices and over described ones, and what a program sends."""

import math
import re

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from packages import need

from attn.parallel.mesh import AXES, MeshShape

BTNH, N_ = P("data", None, "heads", None), P("heads")

COLLECTIVES = re.compile(
    r" ((?:ragged-)?all-[\w-]+?|collective-\w+|reduce-scatter)(?:-start)?(?<!-done)\("
)
"""The operation of a line of a program's text; one that starts and is done counts once."""
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


def devices_of(name):
    """The topology of a described machine, with the packages that compile for it."""
    from attn.plan.topologies import PACKAGES, topology

    devices = topology(name)
    need(PACKAGES[devices.chip.platform])
    return devices


def described(name, data=1, heads=4, seq=1):
    """Chips of a described machine, as a mesh data x heads x seq."""
    from attn.plan.programs import mesh_on

    return mesh_on(devices_of(name), MeshShape(data, heads=heads, seq=seq))


def compile_for(mesh, attend, T=2048, S=None, K=4, H=128, dtype="bfloat16", **given):
    """The program of the output and the gradients, B = 2 and N = 8."""
    along = "seq" if mesh.shape["seq"] > 1 else None
    place = NamedSharding(mesh, P("data", along, "heads", None))
    shapes = (2, T, 8, H), (2, S or T, K, H), (2, S or T, K, H)
    qkv = [jax.ShapeDtypeStruct(s, dtype, sharding=place) for s in shapes]
    rows = NamedSharding(mesh, P("data", None))
    given = {
        name: jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows)
        for name, shape in given.items()
    }

    def both(qkv, given, weighting):
        out, pull = jax.vjp(lambda qkv: attend(*qkv, **given), qkv)
        return out, pull(weighting)

    # Library code broadcasts as it likes.
    with jax.set_mesh(mesh), jax.numpy_rank_promotion("allow"):
        return jax.jit(both).lower(qkv, given, qkv[0]).compile()
