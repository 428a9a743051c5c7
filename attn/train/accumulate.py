"""Gradients of a batch, one part of it at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Graded = Callable[[Any, Any, Any, Array], tuple[Array, Any]]
"""A function of parameters, features, a batch and a key: the loss and its gradient."""


def in_parts(graded: Graded, A: int, weigh: Callable[[Any], Array]) -> Graded:
    """Adds up the losses and gradients of `A` parts of a batch, each as it weighs.

    Only one part's activations are in memory at once. Parts drop out units of their own.

    Args:
        weigh: the sum of the weights that the mean of a part is over.
    """
    if A == 1:
        return graded

    def whole(params, features, batch, key):
        def add(total, part):
            rows, own = part
            weight = weigh(rows)
            loss, grads = graded(params, features, rows, own)
            more = jax.tree.map(lambda x: weight * x, (loss, grads))
            return jax.tree.map(jnp.add, total, (*more, weight)), None

        parts = {name: _split(rows, A) for name, rows in batch.items()}
        none = jnp.float32(0), jax.tree.map(jnp.zeros_like, params), jnp.float32(0)
        keys = jax.random.split(key, A)
        (loss, grads, weight), _ = lax.scan(add, none, (parts, keys))
        weight = jnp.maximum(weight, 1e-9)
        return loss / weight, jax.tree.map(lambda g: g / weight, grads)

    return whole


def _split(rows: Array, A: int) -> Array:
    """Splits rows [B, ...] into parts [A, B / A, ...], each of every A-th row."""
    return jnp.moveaxis(rows.reshape(-1, A, *rows.shape[1:]), 1, 0)
