"""The bias of one tile, read or computed, and its gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.tiles import Block, Infos, add, positions, take
from attn.positions import RelativeBias

Bias = Array | RelativeBias
"""A bias [#B, #N, T, S], or one computed from distances, with leaves [N, ...]."""
AddGradient = Callable[[Any, Array], Any]
"""A function that adds one tile's gradient [b, k, g, C, D] to that of the whole
bias."""


def bias_tile(
    plan: Plan, bias: Bias, G: int, rows: Block, columns: Block, infos: Infos
) -> tuple[Array, AddGradient]:
    """Returns a tile's bias [#b, #k, #g, C, D], and a function to add its gradient.

    Args:
        G: query heads for each key/value head.
    """
    if isinstance(bias, RelativeBias):
        return _computed(plan, bias, G, rows, columns, infos)
    slices = rows.slices(0, 2, 1, G) + columns.slices(None, 3, None)
    tile = _grouped(take(bias, slices), G)

    def add_gradient(total, gradient):
        shared = [axis for axis in range(3) if tile.shape[axis] == 1]
        gradient = gradient.sum(axis=shared, keepdims=True)
        return add(total, _joined(gradient), slices)

    return tile.astype(plan.accumulator_dtype), add_gradient


def _grouped(x: Array, G: int) -> Array:
    """Splits the heads: [b, N, C, D] to [b, K, G, C, D]; N = 1 to K = G = 1."""
    groups = (1, 1) if x.shape[1] == 1 else (x.shape[1] // G, G)
    return x.reshape(x.shape[0], *groups, *x.shape[2:])


def _joined(x: Array) -> Array:
    """Merges the heads: [b, K, G, C, D] to [b, N, C, D]."""
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def _computed(plan, bias, G, rows, columns, infos):
    slices = rows.slices(None, None, 0, G)

    def compute(bias):
        bias = jax.tree.map(lambda x: x.astype(plan.accumulator_dtype), bias)
        if not plan.has_positions:
            (q, C), (k, D) = rows.tokens, columns.tokens
            return _grouped(bias.tile(k - q, C, D)[None], G)
        q, k = positions(infos[0], rows), positions(infos[1], columns)
        distances = k[:, None, :] - q[:, :, None]
        return _grouped(jax.vmap(bias.at)(distances), G)

    tile, pull = jax.vjp(compute, jax.tree.map(lambda x: take(x, slices), bias))

    def add_gradient(total, gradient):
        if tile.shape[0] == 1:
            gradient = gradient.sum(axis=0, keepdims=True)
        return jax.tree.map(
            lambda x, part: add(x, part.astype(x.dtype), slices),
            total,
            pull(gradient)[0],
        )

    return tile, add_gradient


def no_gradient(plan: Plan, bias: Bias) -> Any:
    """The zeros from which the gradient of a bias is accumulated."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, plan.accumulator_dtype), bias)
