"""The facts of a batch's tokens, for every sequence of it, and its mean states."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attn.attention.check import check_array, check_info, check_range
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.parallel.rules import lay, layout


def check_tokens(tokens: Any, vocab_size: int | None, name: str = "tokens") -> None:
    """Raises `UserError` unless they are tokens [B, T] of a vocabulary.

    Values are checked where they can be read, which those of tracers cannot.
    """
    check_array(name, tokens, "tokens")
    if len(tokens.shape) != 2 or 0 in tokens.shape:
        raise UserError(
            f"{name} is {tuple(tokens.shape)}; it must be (batch, tokens), none of them 0"
        )
    most = None if vocab_size is None else vocab_size - 1
    check_range(name, tokens, "tokens", most, "vocab_size - 1")


def of_batch(info: TokenInfo, tokens: Int[Array, "B T"], side: str = "") -> TokenInfo:
    """Broadcasts `info` to every sequence, with lengths turned into a mask.

    On a mesh it is laid out as the tokens are.

    Args:
        side: what begins the names of its fields in errors, as in `source_`.

    Raises:
        UserError: it is not of these tokens, or would be misread.
    """
    B, T = tokens.shape
    check_info(info, (B, T), of="S" if side else "T", side=side, once=True)

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
