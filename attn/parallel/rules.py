"""Sharding rules: which dimension of an array lies along which mesh axis.

Dimensions have the letters of this package (`attn`'s docstring). Everything that lays
out an array names its dimensions, as in `spec("B T N H")`, and the rules below say the
rest.
"""

import math
from typing import Any

import jax
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

RULES = {
    "B": ("data", "fsdp"),
    "N": "heads",
    "K": "heads",
    "F": "heads",
    "V": "heads",
    "T": "seq",
    "S": "seq",
}
"""The mesh axis, or axes, of a dimension; other dimensions are not divided."""
REPLICATED = frozenset("KV")
"""Dimensions that all devices hold whole where the mesh cannot divide them: key/value
heads (multi-query attention), and a vocabulary."""


def spec(dims: str, shape: tuple[int, ...] | None = None) -> P:
    """The sharding of an array with these dimensions, as in `spec("B T N H")`.

    An axis of size 1 divides nothing, and is left out.

    Args:
        dims: a letter a dimension, by spaces.
        shape: says which of `REPLICATED` cannot be divided; without it all can.

    Raises:
        ValueError: two dimensions of the array lie along one axis.
    """
    letters = dims.split()
    axes = [_axis(x, shape[i] if shape else None) for i, x in enumerate(letters)]
    for axis in filter(None, axes):
        if axes.count(axis) > 1:
            both = [x for x, own in zip(letters, axes, strict=True) if own == axis]
            raise ValueError(f"{dims!r}: {' and '.join(both)} lie along {axis!r}")
    return P(*axes)


def _axis(letter: str, size: int | None) -> str | tuple[str, ...] | None:
    """The mesh axis that divides a dimension, if any; a tuple of several."""
    named = RULES.get(letter, ())
    axes = [
        x for x in ((named,) if isinstance(named, str) else named) if axis_size(x) > 1
    ]
    parts = math.prod(map(axis_size, axes))
    if not axes or (letter in REPLICATED and (size or 0) % parts):
        return None
    return axes[0] if len(axes) == 1 else tuple(axes)


def axis_size(axis: str) -> int:
    """The size of an axis of the current mesh; 1 without a mesh."""
    return dict(jax.sharding.get_abstract_mesh().shape).get(axis, 1)


def batch_parts() -> int:
    """The number of parts that the current mesh divides a batch into."""
    return math.prod(map(axis_size, RULES["B"]))


def on_mesh() -> bool:
    """Whether there is a current mesh, with Explicit axes."""
    return AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def layout(dims: str, shape: tuple[int, ...] | None = None) -> Any:
    """`spec` as an `out_sharding` argument; None without a mesh."""
    return spec(dims, shape) if on_mesh() else None


def lay(x: Array, dims: str) -> Array:
    """Shards `x` by the rules; leaves it as it is without a mesh."""
    return reshard(x, spec(dims, x.shape)) if on_mesh() else x
