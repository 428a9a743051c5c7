"""The product of states and a weight, as a product of two matrices."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attn.device import device_kind
from attn.parallel.fsdp import gather, is_divided
from attn.parallel.rules import axis_size, layout, on_mesh


def product(
    x: Float[Array, "B T ..."],
    w: Float[Array, "..."],
    dims: str,
    dtype: DTypeLike | None = None,
) -> Float[Array, "B T ..."]:
    """Contracts all axes of `x` but the batch and the sequence with the first of `w`.

    On a CPU, rows of the batch and positions are merged to one axis first, where the mesh
    does not divide the sequence. Its compiler copies both operands of a product that
    contracts two axes, as the gradient of `w` does otherwise, and takes twice the time.

    Args:
        x: the states.
        w: the weight, in the dtype of `x`. One that `fsdp` divides is gathered here, in
            the backward pass again, and its gradient scattered as it is made.
        dims: the dimensions of the result, as `attn.parallel.rules.spec` takes them.
        dtype: of the sums and of the result; that of `x` unless given.
    """
    return (_divided if is_divided(w) else _whole)(x, w, dims, dtype)


def _whole(x: Array, w: Array, dims: str, dtype: DTypeLike | None) -> Array:
    """The product with a weight that no `fsdp` divides."""
    shape = (*x.shape[:2], *w.shape[x.ndim - 2 :])
    if device_kind() != "cpu" or axis_size("seq") > 1:
        inner = range(2, x.ndim), range(x.ndim - 2)
        return _contracted(x, w, inner, layout(dims, shape), dtype)
    rows, columns = _matrix(x, 2), _matrix(w, x.ndim - 2)
    both = _laid(_axes(x)[0], _axes(columns)[1])
    y = jnp.matmul(rows, columns, preferred_element_type=dtype, out_sharding=both)
    return jnp.reshape(y, shape, out_sharding=layout(dims, shape))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _divided(x: Array, w: Array, dims: str, dtype: DTypeLike | None) -> Array:
    # Weights are gathered when they are needed, and not all at once before the first layer.
    x, w = lax.optimization_barrier((x, w))
    return _whole(x, gather(w), dims, dtype)


def _forward(
    x: Array, w: Array, dims: str, dtype: DTypeLike | None
) -> tuple[Array, tuple[Array, Array]]:
    return _divided(x, w, dims, dtype), (x, w)


def _backward(
    dims: str, dtype: DTypeLike | None, kept: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """The gradients of both; that of the weight is never whole on a device."""
    x, w = kept
    # Gathered again: without this, those of the forward pass would be kept.
    dy, w = lax.optimization_barrier((dy.astype(x.dtype), w))
    C = x.ndim - 2
    outer = range(2, dy.ndim), range(C, w.ndim)
    dx = _contracted(dy, gather(w), outer, _axes(x))
    return dx, lax.optimization_barrier(
        _contracted(x, dy, (range(2), range(2)), _axes(w))
    )


_divided.defvjp(_forward, _backward)


def _contracted(
    a: Array,
    b: Array,
    axes: tuple[Sequence[int], Sequence[int]],
    laid: P | None,
    dtype: DTypeLike | None = None,
) -> Array:
    return lax.dot_general(
        a, b, (axes, ((), ())), preferred_element_type=dtype, out_sharding=laid
    )


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
