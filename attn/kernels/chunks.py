"""A sequence in chunks of equal size."""

import jax.numpy as jnp
from jaxtyping import Array


def in_chunks(x: Array, C: int, mode: str = "constant") -> Array:
    """[T, ...] as [M, C, ...]; what the last chunk lacks is 0, or as `jnp.pad` has it."""
    more = ((0, -len(x) % C), *((0, 0),) * (x.ndim - 1))
    return jnp.pad(x, more, mode=mode).reshape(-1, C, *x.shape[1:])
