"""The memory of a decoder: the encoder's states, and what is known of its tokens."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from attn.kernels import TokenInfo


class Memory(NamedTuple):
    """The states of an encoder that the layers of a decoder attend to."""

    states: Float[Array, "B S D"]
    info: TokenInfo


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class MemoryCache:
    """The keys and values of a memory, made once for all tokens that are decoded."""

    k: Any
    """Keys [B, S, K, H]."""
    v: Any
    """Values [B, S, K, H]."""
    mask: Any
    """True where a key is real [B, S]; None where all are."""
