"""The facts of a batch's tokens, for every sequence of it, and its mean states."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attn.kernels import TokenInfo
from attn.parallel.rules import lay, layout


def of_batch(info: TokenInfo, tokens: Int[Array, "B T"]) -> TokenInfo:
    """Broadcasts `info` to every sequence, with lengths turned into a mask.

    On a mesh it is laid out as the tokens are.
    """

    def whole(x: Array | None) -> Array | None:
        if x is None or x.shape == tokens.shape:
            return x if x is None else lay(x, "B T")
        return jnp.broadcast_to(x, tokens.shape, out_sharding=layout("B T"))

    real = info.real(tokens.shape[1])
    return TokenInfo(whole(info.segment_ids), whole(info.positions), None, whole(real))


def mean_state(
    x: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None
) -> Float[Array, "B 1 D"]:
    """The mean state of the real tokens, summed in float32."""
    real = None if mask is None else mask[..., None]
    return x.mean(axis=1, where=real, keepdims=True, dtype=jnp.float32).astype(x.dtype)
