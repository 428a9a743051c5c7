"""The static plan of a call, and the arrays that its kernels read."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from attn.kernels.pallas.tile_list import TileList, tile_list
from attn.masks import FULL, Mask


@dataclass(frozen=True)
class Plan:
    """A static plan; hashable, so that one trace serves all calls of its shapes."""

    mask: Mask
    scale: float
    softcap: float | None
    T: int
    S: int
    """The lengths before they are padded to whole blocks."""
    q_block: int
    k_block: int
    has_ids: bool
    """Whether tokens have segments or padding, so that every tile is masked."""
    has_positions: bool
    """Whether the mask is asked about positions known at run time, so that it rules
    out no tile in advance, and every tile is masked."""
    tabled: bool
    """Whether the predicate cannot run inside the kernel, which then reads its pairs."""
    interpret: bool

    def tiles(self, of_rows: bool) -> TileList:
        """The tiles by rows (blocks of queries) or by columns (blocks of keys)."""
        mask, blocks = self.mask, (self.q_block, self.k_block)
        if self.has_positions:
            mask = FULL
        return tile_list(mask, self.T, self.S, blocks, of_rows, self.tabled)


class Inputs(NamedTuple):
    """The arrays of a call, padded to whole blocks; None for what it lacks."""

    q: Any
    """[B, N, T, H]."""
    k: Any
    """[B, K, S, H]."""
    v: Any
    """[B, K, S, V]."""
    sinks: Any
    """[N], float32."""
    q_ids: Any
    """[B, 1, T], as the positions; of keys [B, 1, S]."""
    kv_ids: Any
    q_positions: Any
    kv_positions: Any
