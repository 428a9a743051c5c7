"""Sharding rules: which dimension of an array lies along which mesh axis.

Dimensions have the letters of this package (`attn`'s docstring). Everything that lays
out an array names its dimensions, as in `spec("B T N H")`, and the rules below say the
rest.
"""

from typing import Any

import jax
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

RULES = {"B": "data", "N": "heads", "K": "heads", "F": "heads"}
"""The mesh axis of a dimension; other dimensions are not divided."""


def spec(dims: str, shape: tuple[int, ...] | None = None) -> P:
    """The sharding of an array with these dimensions, as in `spec("B T N H")`.

    Args:
        dims: a letter a dimension, by spaces.
        shape: key/value heads that the mesh cannot divide are replicated (multi-query
            attention); without a shape they are taken to be divisible.
    """
    axes = [RULES.get(letter) for letter in dims.split()]
    if shape is not None and "K" in dims.split():
        at = dims.split().index("K")
        if shape[at] % axis_size(RULES["K"]):
            axes[at] = None
    return P(*axes)


def axis_size(axis: str) -> int:
    """The size of an axis of the current mesh; 1 without a mesh."""
    return dict(jax.sharding.get_abstract_mesh().shape).get(axis, 1)


def on_mesh() -> bool:
    """Whether there is a current mesh, with Explicit axes."""
    return AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def layout(dims: str, shape: tuple[int, ...] | None = None) -> Any:
    """`spec` as an `out_sharding` argument; None without a mesh."""
    return spec(dims, shape) if on_mesh() else None


def lay(x: Array, dims: str) -> Array:
    """Shards `x` by the rules; leaves it as it is without a mesh."""
    return reshard(x, spec(dims, x.shape)) if on_mesh() else x
