"""A sliding window and a few tokens that see and are seen everywhere."""

from dataclasses import dataclass

from attn.kernels.base import bad_knob
from attn.kernels.sparse.window import WindowAttention, reach
from attn.masks import Global, Mask


@dataclass(frozen=True)
class Longformer(WindowAttention):
    """Softmax over a window and `num_global` tokens at the start.

    Beltagy et al. 2020, section 3.1, with one set of projections for both parts. Under
    `Causal()` the global tokens are seen by all that follow, and look back only.
    O(T (width + num_global)) time.
    """

    name = "longformer"

    num_global: int = 4
    """Tokens at the start that see and are seen everywhere."""

    def __post_init__(self):
        super().__post_init__()
        if self.num_global < 1:
            raise bad_knob(self, "num_global", "it must be at least 1")

    def pattern(self, mask: Mask) -> Mask:
        return mask & (reach(self.width, mask) | Global(self.num_global))

    def check_length(self, T: int) -> None:
        super().check_length(T)
        if self.num_global > T:
            raise bad_knob(self, "num_global", f"the text has {T} tokens")

    def state_size(self, S, H, Hv):
        return min(S, self.width + self.num_global) * (H + Hv)
