"""Batches of small triangular systems, solved by matrix products."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def solve_unit_lower(
    low: Float[Array, "M C C"], b: Float[Array, "M C U"]
) -> Float[Array, "M C U"]:
    """Solves x + low x = b; `low` is 0 on and above its diagonals.

    The products are those of `inverse_unit_lower`; jax's own triangular solve calls
    LAPACK a matrix at a time on CPU (hundreds of times slower for chunks of 64), and
    its gradient does not run on a mesh of explicit axes. A gradient is one more solve.
    """
    inverse = lax.stop_gradient(inverse_unit_lower(low))
    return lax.custom_linear_solve(
        lambda x: x + low @ x,
        b,
        lambda _, b: inverse @ b,
        lambda _, b: inverse.mT @ b,
    )


def inverse_unit_lower(low: Float[Array, "M C C"]) -> Float[Array, "M C C"]:
    """Inverts I + low by halves: ((A, 0), (L, B))^-1 = ((A', 0), (-B' L A', B')).

    Both halves are inverted together, log2(C) times. Unlike the series I - low + low^2
    - ..., whose terms grow as binomials where keys repeat and then cancel, all that is
    held is part of an inverse.
    """
    M, C = low.shape[:2]
    if C <= 2:
        return jnp.eye(C, dtype=low.dtype)[None] - low
    h = -(-C // 2)
    if C % 2:
        low = jnp.pad(low, ((0, 0), (0, 1), (0, 1)))
    halves = inverse_unit_lower(jnp.concatenate([low[:, :h, :h], low[:, h:, h:]]))
    a, b = halves[:M], halves[M:]
    corner = -b @ low[:, h:, :h] @ a
    top = jnp.concatenate([a, jnp.zeros_like(a)], axis=2)
    whole = jnp.concatenate([top, jnp.concatenate([corner, b], axis=2)], axis=1)
    return whole[:, :C, :C]
