"""States to save, and what it means that one came back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.train.checkpoint.checkpoints import Checkpoints


class Moments(NamedTuple):
    count: jax.Array
    mu: dict


def mesh_of(rows, columns):
    return jax.make_mesh(
        (rows, columns), ("data", "heads"), axis_types=(AxisType.Auto,) * 2
    )


def spec_of(leaf):
    return P("data", "heads") if leaf.ndim == 2 else P()


def make_state(step, mesh=None):
    w = {"w": jax.random.normal(jax.random.key(step), (16, 64))}
    state = {
        "params": w,
        "opt": (Moments(jnp.int32(step), {"w": w["w"] / 3}), ()),
        "half": jnp.full((3,), 1 / 3, jnp.bfloat16),
        "key": jax.random.split(jax.random.key(step + 100), 3),
    }
    mesh = mesh or mesh_of(2, 4)
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec_of(leaf))), state
    )


def abstract_of(state, mesh=None):
    mesh = mesh or mesh_of(2, 4)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec_of(leaf))
        ),
        state,
    )


def bits(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def assert_same_bits(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        assert a.dtype == b.dtype
        assert bits(a) == bits(b)


def save_steps(folder, *steps, keep=2):
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(step, make_state(step), {"next_index": step})
    checkpoints.close()
    return folder


def restore(folder):
    return Checkpoints(folder).restore(abstract_of(make_state(0)))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path, position):
    blob = bytearray(path.read_bytes())
    blob[position // 8] ^= 1 << position % 8
    path.write_bytes(blob)
