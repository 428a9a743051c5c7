"""The maximum of each row of scores."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.device import device_kind

FEW = 16
"""The scores of a row that are reduced one by one: float32 in a 512-bit register."""


def row_max(scores: Float[Array, "*rows S"]) -> Float[Array, "*rows"]:
    """Computes the maximum over the last axis; NaN where there is one.

    On a CPU by halves, which XLA makes vector instructions of. Its own reduction by
    maximum takes a score at a time, and longer than the exponentials after it.
    """
    if device_kind() == "cpu":
        while (S := scores.shape[-1]) > FEW:
            half = -(-S // 2)  # both halves have the middle one of an odd number
            scores = jnp.maximum(scores[..., :half], scores[..., S - half :])
    return scores.max(axis=-1)
