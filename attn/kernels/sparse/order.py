"""Sorting of small integers, such as bucket or block numbers of tokens."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def stable_order(numbers: Int[Array, "n"], bound: int) -> Int[Array, "n"]:
    """Computes `jnp.argsort` of integers in 0 .. bound - 1.

    Number and position are sorted as one integer where they fit: on a CPU XLA sorts one
    array in less time than two.
    """
    n = len(numbers)
    if bound * n > jnp.iinfo(numbers.dtype).max:
        return jnp.argsort(numbers, stable=True)
    return jnp.sort(numbers * n + jnp.arange(n, dtype=numbers.dtype)) % n


def inverse(order: Int[Array, "n"]) -> Int[Array, "n"]:
    """Inverts a permutation."""
    position = jnp.arange(len(order), dtype=order.dtype)
    return jnp.zeros_like(order).at[order].set(position, unique_indices=True)
