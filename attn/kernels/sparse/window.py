"""Sliding-window attention."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.sparse.base import SparseSoftmax, sides
from attn.masks import Mask, Window


@dataclass(frozen=True)
class WindowAttention(SparseSoftmax):
    """Softmax over the `width` nearest keys: Beltagy et al. 2020 (Longformer), 3.1.

    Under `Causal()` the window is the query itself and the `width - 1` keys before it;
    without a mask it reaches `width // 2` to both sides. O(T width) time; decoding
    keeps `width` keys. One layer moves nothing farther than the window.
    """

    name = "window"
    least: ClassVar = {"width": 1}

    width: int = 16
    """Keys that a query sees, its own included; one more where an even width looks
    both ways."""

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Window(*sides(self.width, ahead))
