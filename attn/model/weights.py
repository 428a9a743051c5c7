"""Weights, random features and the norm of heads: what modules are made of."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn.parallel.rules import lay


class Features(nnx.Variable):
    """Random features of a kernel: drawn once, kept with the weights, not trained."""


def weight(rngs: nnx.Rngs, dims: str, *shape: int, fan_in: int) -> nnx.Param:
    """A normal float32 weight of variance 1 / fan_in, laid out by its dimensions."""
    value = jax.random.normal(rngs.params(), shape) * fan_in**-0.5
    return nnx.Param(lay(value, dims))


def rms_norm(
    x: Float[Array, "B T N H"], scale: Float[Array, "N H"]
) -> Float[Array, "B T N H"]:
    """Divides each head's output by its root mean square; a scale for each channel."""
    wide = x.astype(jnp.float32)
    size = jnp.square(wide).mean(axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(size + 1e-6) * scale[None, None]).astype(x.dtype)
