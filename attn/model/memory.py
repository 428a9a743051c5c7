"""The memory of a decoder: the encoder's states, and what is known of its tokens."""

from typing import NamedTuple

from jaxtyping import Array, Float

from attn.kernels import TokenInfo


class Memory(NamedTuple):
    """The states of an encoder that the layers of a decoder attend to."""

    states: Float[Array, "B S D"]
    info: TokenInfo
