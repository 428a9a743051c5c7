"""Sequences in chunks of equal size."""

import jax.numpy as jnp
from jaxtyping import Array


def in_chunks(x: Array, C: int) -> Array:
    """Splits [T, ...] into [M, C, ...]; pads the last with 0."""
    more = ((0, -len(x) % C), *((0, 0),) * (x.ndim - 1))
    return jnp.pad(x, more).reshape(-1, C, *x.shape[1:])
