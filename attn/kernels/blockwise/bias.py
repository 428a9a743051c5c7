"""The bias of one tile, read or computed there, and its gradient, put back."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.tiles import Block, Marks, add, cut
from attn.positions import RelativeBias

Bias = Array | RelativeBias
"""[#B, #K, #G, T, S], or computed from distances with leaves [K, G, ...]."""
AddGradient = Callable[[Any, Array], Any]
"""Adds the gradient of one tile [b, k, g, C, D] to the gradient of the whole bias."""


def bias_tile(
    plan: Plan, bias: Bias, rows: Block, columns: Block, marks: Marks
) -> tuple[Array, AddGradient]:
    """The bias of a tile [#b, #k, #g, C, D], and how its gradient joins the others."""
    if isinstance(bias, RelativeBias):
        return _computed(plan, bias, rows, columns, marks)
    parts = rows.parts(0, 3, 1) + columns.parts(None, 4, None)
    tile = cut(bias, parts)

    def add_gradient(total, gradient):
        shared = [axis for axis in range(3) if tile.shape[axis] == 1]
        return add(total, gradient.sum(axis=shared, keepdims=True), parts)

    return tile.astype(plan.acc), add_gradient


def _computed(plan, bias, rows, columns, marks):
    parts = rows.parts(None, None, 0)

    def compute(bias):
        bias = jax.tree.map(lambda x: x.astype(plan.acc), bias)
        if marks.q_positions is None and marks.kv_positions is None:
            (q, C), (k, D) = rows.tokens, columns.tokens
            return bias.tile(k - q, C, D)[None]
        q, k = (
            at.places if x is None else cut(x, at.parts(0, 1, None))
            for x, at in ((marks.q_positions, rows), (marks.kv_positions, columns))
        )
        distances = k[:, None, :] - q[:, :, None]
        return jax.vmap(bias.at)(distances)

    tile, pull = jax.vjp(compute, jax.tree.map(lambda x: cut(x, parts), bias))

    def add_gradient(total, gradient):
        if tile.shape[0] == 1:
            gradient = gradient.sum(axis=0, keepdims=True)
        return jax.tree.map(
            lambda x, part: add(x, part.astype(x.dtype), parts),
            total,
            pull(gradient)[0],
        )

    return tile, add_gradient


def no_gradient(plan: Plan, bias: Bias) -> Any:
    """Zeros to which `AddGradient` adds."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, plan.acc), bias)
