"""Streaming attention: a sliding window, and the first tokens as attention sinks."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.softmax import Softmax
from attn.kernels.sparse.base import SparseSoftmax, sides
from attn.masks import Causal, Mask, Prefix, Window


@dataclass(frozen=True)
class StreamingAttention(SparseSoftmax):
    """Softmax over the first `num_first` tokens and the last `width` tokens.

    Xiao et al. 2023 (StreamingLLM), section 3.2 and figure 1d: the first tokens take
    the weight that softmax must put somewhere. O(T (width + num_first)) time; decoding
    keeps `width + num_first` keys whatever the length. Causal only. This is the mask:
    tokens keep their positions in the sequence, where their cache numbers them anew at
    each step. What leaves the window is forgotten, for it reads no more than a window
    does.
    """

    name = "streaming"
    can: ClassVar[frozenset[str]] = Softmax.can - {"bidirectional", "any_mask"}
    least: ClassVar = {"width": 1, "num_first": 1}

    width: int = 16
    """Keys of the window, the query's own included."""
    num_first: int = 4
    """Tokens at the start that all later ones see."""

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        behind = Window(*sides(self.width, ahead=False)) | Prefix(self.num_first)
        return Causal() & behind if ahead else behind
