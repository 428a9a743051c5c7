"""Parameters divided over the mesh axis `fsdp`, and gathered where a layer uses them.

Fully sharded data parallelism, ZeRO's third stage (Rajbhandari et al. 2020,
arXiv:1910.02054): each device keeps a part of every matrix, of its gradient and of its
optimizer state, and has whole layers one at a time.
"""

from typing import TypeVar

import jax
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array

from attn.parallel.rules import axis_size, on_mesh, spec
from attn.parallel.shard import explicit_spec

AXIS = "fsdp"
Tree = TypeVar("Tree")


def divided(dims: str, shape: tuple[int, ...]) -> P:
    """The sharding of a weight: by the rules, and its largest other dimension by `fsdp`.

    A weight of which no such dimension can be divided is replicated.
    """
    axes, parts = list(spec(dims, shape)), axis_size(AXIS)
    free = [i for i, n in enumerate(shape) if axes[i] is None and n % parts == 0]
    if parts > 1 and free and len(shape) > 1:
        axes[max(free, key=shape.__getitem__)] = AXIS
    return P(*axes)


def lay_weight(x: Array, dims: str) -> Array:
    """Shards a weight for keeping; leaves it as it is without a mesh."""
    return reshard(x, divided(dims, x.shape)) if on_mesh() else x


def is_divided(x: Array) -> bool:
    """Whether `fsdp` divides a weight, with a size above 1."""
    kept = explicit_spec(x) if isinstance(x, jax.Array) else None
    return kept is not None and AXIS in kept


def gather(tree: Tree) -> Tree:
    """Gathers the weights of a tree that `fsdp` divides; others are left alone."""
    return jax.tree.map(_whole, tree)


def _whole(x: Array) -> Array:
    if not is_divided(x):
        return x
    whole = (None if axis == AXIS else axis for axis in jax.typeof(x).sharding.spec)
    return reshard(x, P(*whole))
