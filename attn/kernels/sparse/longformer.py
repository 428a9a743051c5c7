"""Longformer: a sliding window, and global tokens that see and are seen everywhere."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.sparse.base import SparseSoftmax, sides
from attn.masks import Global, Mask, Window


@dataclass(frozen=True)
class Longformer(SparseSoftmax):
    """Softmax over a window and `num_global` tokens at the start.

    Beltagy et al. 2020, section 3.1, with one set of projections for both parts. Under
    `Causal()` the global tokens are seen by all that follow, and look back only.
    O(T (width + num_global)) time; decoding keeps as many keys as a query sees.
    """

    name = "longformer"
    least: ClassVar = {"width": 1, "num_global": 1}

    width: int = 16
    """Keys of the window, counted as those of `window` are."""
    num_global: int = 4
    """Tokens at the start that see and are seen everywhere."""

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Window(*sides(self.width, ahead)) | Global(self.num_global)
