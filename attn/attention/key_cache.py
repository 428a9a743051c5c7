"""The cache of a mechanism that compares queries with keys: each in a slot.

A key keeps its slot until the last query that sees it (`attn.masks.lifetime`). Arrays
begin with the batch, so rows are selected, repeated or reordered by `jax.tree.map`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

EMPTY = -1
"""The position of a slot without a key."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class KeyCache:
    """Keys and values in C slots, with their positions in the sequence.

    Slots lie beside channels, as the products with queries read them: with the heads
    there, each step would copy the cache to another layout.
    """

    k: Any
    """Keys [B, K, C, H]."""
    v: Any
    """Values [B, K, C, Hv]; None where they are the first channels of the keys."""
    positions: Any
    """The position of the key in each slot [B, C]; `EMPTY` without one."""
    length: int = field(metadata={"static": True})
    """The number of tokens that can be decoded, L."""
    value_width: int = field(metadata={"static": True})
    """Channels of a value, Hv."""

    @property
    def keys(self) -> Float[Array, "B C K H"]:
        """The keys, as `attend` takes them."""
        return self.k.swapaxes(1, 2)

    @property
    def values(self) -> Float[Array, "B C K Hv"]:
        """The values, as `attend` takes them."""
        v = self.k[..., : self.value_width] if self.v is None else self.v
        return v.swapaxes(1, 2)

    def filled(
        self,
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K Hv"] | None,
        positions: Int[Array, "B T"],
        real: Bool[Array, "B T"],
        table: Int[np.ndarray, "L"],
    ) -> "KeyCache":
        """Holds a prompt's real keys, of those that share a slot the last."""
        (B, T), C = positions.shape, self.positions.shape[1]
        slot = jnp.where(real, self._slots(positions, table), C)
        last = jnp.full((B, C), EMPTY).at[jnp.arange(B)[:, None], slot]
        token = last.max(jnp.arange(T)[None], mode="drop")
        held = token != EMPTY

        def gathered(x: Array, old: Array) -> Array:
            index = jnp.maximum(token, 0)[:, None, :, None]
            found = jnp.take_along_axis(x.swapaxes(1, 2), index, axis=2)
            return jnp.where(held[:, None, :, None], found, 0).astype(old.dtype)

        at = jnp.take_along_axis(positions, jnp.maximum(token, 0), axis=1)
        return replace(
            self,
            k=gathered(k, self.k),
            v=None if self.v is None or v is None else gathered(v, self.v),
            positions=jnp.where(held, at, EMPTY).astype(jnp.int32),
        )

    def written(
        self,
        k: Float[Array, "B 1 K H"],
        v: Float[Array, "B 1 K Hv"] | None,
        positions: Int[Array, "B 1"],
        active: Bool[Array, "B"] | None,
        table: Int[np.ndarray, "L"],
    ) -> "KeyCache":
        """Holds one more token a row, where `active`, over a key that none will see."""
        B, C = self.positions.shape
        slot = self._slots(positions, table)[:, 0]
        if active is not None:
            slot = jnp.where(active, slot, C)
        rows = jnp.arange(B)

        # A scatter is in place in a loop, and leaves out rows whose slot is C. So would
        # be one slice a row, but jaxlib 0.11.1 copies the cache for small ones.
        def put(old: Array, new: Array) -> Array:
            at = old.at[rows, :, slot] if old.ndim > 2 else old.at[rows, slot]
            new = new[:, 0].astype(old.dtype)
            return at.set(new, mode="drop", unique_indices=True)

        return replace(
            self,
            k=put(self.k, k),
            v=None if self.v is None or v is None else put(self.v, v),
            positions=put(self.positions, positions),
        )

    def _slots(self, positions: Array, table: np.ndarray) -> Array:
        """The slot of each position; C, which is none, from L on."""
        C = self.positions.shape[1]
        return jnp.asarray(table).at[positions].get(mode="fill", fill_value=C)


def empty_keys(
    B: int, C: int, K: int, widths: tuple[int, int], L: int, dtype: Any, latent: bool
) -> KeyCache:
    """Makes the cache of no keys, with C slots for L tokens."""
    H, Hv = widths
    return KeyCache(
        k=jnp.zeros((B, K, C, H), dtype),
        v=None if latent else jnp.zeros((B, K, C, Hv), dtype),
        positions=jnp.full((B, C), EMPTY, jnp.int32),
        length=L,
        value_width=Hv,
    )
