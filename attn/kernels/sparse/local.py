"""Local attention, within blocks."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.sparse.base import SparseSoftmax
from attn.masks import Chunk, Mask


@dataclass(frozen=True)
class LocalAttention(SparseSoftmax):
    """Softmax over the query's own block: floor(s / block) = floor(t / block).

    The "Local Attention" of Tay et al. 2021 (Long Range Arena), table 1. O(T block)
    time; decoding keeps one block. Blocks never mix: however many layers, no token
    hears of another block, and the first of a block sees itself alone under `Causal()`.
    """

    name = "local"
    least: ClassVar = {"block": 1}

    block: int = 16
    """Tokens of a block; the last one of a sequence may be shorter."""

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Chunk(self.block)
