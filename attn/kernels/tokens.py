"""Token info: what is known about tokens only at run time, in one value."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

NO_KEY = -1
"""The segment id of padded keys, which no query has."""
NO_QUERY = -2
"""The segment id of padded queries where keys are padded too; no key has it."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TokenInfo:
    """Run-time facts about the tokens of one side of a call: queries or keys.

    Arrays are [B, L], `lengths` [B]; without the batch inside a kernel. None is the
    default: one segment, positions 0, 1, 2, ..., no padding. Fields are
    not typed as arrays, since transforms put leaves of their own there.
    """

    segment_ids: Any = None
    """Integers of at least 0; a query sees the keys of its own segment."""
    positions: Any = None
    """Positions of the tokens, for masks, position encodings and biases of distances."""
    lengths: Any = None
    """The number of real tokens, those before the padding."""
    mask: Any = None
    """True where a token is real, False where it is padding."""

    def real(self, L: int) -> Bool[Array, "*B L"] | None:
        """True for each token that is no padding by lengths or mask; None for all."""
        if self.lengths is None:
            return self.mask
        index = jnp.arange(L)[(None,) * self.lengths.ndim]
        within = index < self.lengths[..., None]
        return within if self.mask is None else self.mask & within

    def ids(self, L: int, padding: int = NO_KEY) -> Int[Array, "*B L"] | None:
        """One integer a token: its segment, or 0 without any; `padding` at padding.

        None without segments and padding.
        """
        real = self.real(L)
        if real is None:
            return self.segment_ids
        own = self.segment_ids
        own = jnp.zeros_like(real, jnp.int32) if own is None else own
        return jnp.where(real, own, padding)

    def folded(self, L: int, padding: int = NO_KEY) -> "TokenInfo":
        """Merges mask, lengths and segments into one `segment_ids`."""
        return replace(self, segment_ids=self.ids(L, padding), lengths=None, mask=None)

    def index(self, L: int) -> Int[Array, "*B L"]:
        """The position of each of L tokens."""
        return jnp.arange(L) if self.positions is None else self.positions


NO_INFO = TokenInfo()
"""Tokens without any token info."""


def ids_of_call(
    q_info: TokenInfo, kv_info: TokenInfo, B: int, T: int, S: int
) -> tuple[Int[Array, "B T"] | None, Int[Array, "B S"] | None]:
    """The ids of queries and keys; where queries have some keys have them too."""
    q_ids, kv_ids = q_info.ids(T, NO_QUERY), kv_info.ids(S)
    if kv_ids is None and q_ids is not None:
        kv_ids = jnp.zeros((B, S), jnp.int32)
    return q_ids, kv_ids
