"""Dilated attention: a sliding window with gaps."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.base import bad_knob
from attn.kernels.sparse.base import SparseSoftmax, sides
from attn.masks import Dilated, Mask


@dataclass(frozen=True)
class DilatedAttention(SparseSoftmax):
    """Softmax over `width` keys that are `dilation` apart: s = t + j dilation.

    Beltagy et al. 2020 (Longformer), section 3.1: j runs over the window, so the same
    O(T width) scores reach `dilation` times as far. Decoding keeps the whole span of
    (width - 1) dilation + 1 keys, since the next query sees those between. A query sees
    only keys at its own remainder of `dilation`: layers of this kind alone never mix
    the others, so alternate it with `window`. Tiles compute the whole span: `blockwise`
    does `dilation` times the work that is counted.
    """

    name = "dilated"
    least: ClassVar = {"width": 1, "dilation": 1}

    width: int = 16
    """Keys that a query sees, its own included, counted as those of `window` are."""
    dilation: int = 2
    """Tokens from one key to the next; 1 is `window`."""

    @property
    def span(self) -> int:
        """The number of tokens from the first key to the last under `Causal()`."""
        return (self.width - 1) * self.dilation + 1

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Dilated(*sides(self.width, ahead), self.dilation)

    def check_length(self, T: int) -> None:
        super().check_length(T)
        if self.span > T:
            why = f"{self.width} keys so far apart span {self.span} tokens of {T}"
            raise bad_knob(self, "dilation", why)
