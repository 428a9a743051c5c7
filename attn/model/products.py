"""The product of states and a weight, as a product of two matrices."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from attn.parallel.rules import axis_size, layout, on_mesh


def product(
    x: Float[Array, "B T ..."],
    w: Float[Array, "..."],
    dims: str,
    dtype: jax.typing.DTypeLike | None = None,
) -> Float[Array, "B T ..."]:
    """Contracts all axes of `x` but the batch and the sequence with the first of `w`.

    Rows of the batch and positions are merged to one axis first, where the mesh does not
    divide the sequence. A CPU's compiler copies both operands of a product that contracts
    two axes, as the gradient of `w` does otherwise, and takes twice the time.

    Args:
        x: the states.
        w: the weight, in the dtype of `x`.
        dims: the dimensions of the result, as `attn.parallel.rules.spec` takes them.
        dtype: of the sums and of the result; that of `x` unless given.
    """
    if axis_size("seq") > 1:
        inner = range(2, x.ndim), range(x.ndim - 2)
        return lax.dot_general(
            x,
            w,
            (inner, ((), ())),
            preferred_element_type=dtype,
            out_sharding=layout(dims),
        )
    rows, columns = _matrix(x, 2), _matrix(w, x.ndim - 2)
    both = _laid(_axes(x)[0], _axes(columns)[1])
    y = jnp.matmul(rows, columns, preferred_element_type=dtype, out_sharding=both)
    shape = (*x.shape[:2], *w.shape[x.ndim - 2 :])
    return jnp.reshape(y, shape, out_sharding=layout(dims, shape))


def _matrix(x: Array, rows: int) -> Array:
    """Merges the first `rows` axes of an array, and the others."""
    shape = math.prod(x.shape[:rows]), math.prod(x.shape[rows:])
    if x.shape == shape:
        return x
    axes = _axes(x)
    return jnp.reshape(x, shape, out_sharding=_laid(axes[0], axes[rows]))


def _axes(x: Array) -> P:
    """The mesh axes of each axis of an array."""
    return jax.typeof(x).sharding.spec


def _laid(rows: Any, columns: Any) -> P | None:
    """The sharding of a matrix; None without a mesh."""
    return P(rows, columns) if on_mesh() else None
