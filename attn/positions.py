"""How a token knows its place."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def sinusoidal(T: int, D: int) -> Float[Array, "T D"]:
    """Vaswani et al. 2017, section 3.5: sines, then cosines, of 10000^(-2i/D) t."""
    angles = _angles(T, (D + 1) // 2, 2 / D)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)[:, :D]


def rotary(x: Float[Array, "B T N H"]) -> Float[Array, "B T N H"]:
    """Turns the pairs (x_i, x_{i + H/2}) by their place: Su et al. 2021, equation 34.

    Scores of turned queries and keys depend on their distance only. H must be even.
    """
    T, H = x.shape[1], x.shape[-1]
    angles = _angles(T, H // 2, 2 / H)
    sin, cos = (f(angles)[None, :, None, :] for f in (jnp.sin, jnp.cos))
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(
        x.dtype
    )


def _angles(T: int, count: int, step: float) -> Float[Array, "T C"]:
    rates = 10_000.0 ** (-step * jnp.arange(count))
    return jnp.arange(T)[:, None] * rates[None, :]
