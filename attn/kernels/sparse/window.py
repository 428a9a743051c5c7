"""Sliding-window attention."""

from dataclasses import dataclass

from attn.kernels.base import bad_knob
from attn.kernels.softmax import Softmax
from attn.masks import Mask, Window


@dataclass(frozen=True)
class WindowAttention(Softmax):
    """Softmax over the `width` nearest keys: Beltagy et al. 2020 (Longformer), 3.1.

    Under `Causal()` the window is the query itself and the `width - 1` keys before it;
    without a mask it reaches `width // 2` to both sides. O(T width) time.
    """

    name = "window"
    family = "sparse"

    width: int = 16
    """Keys that a query sees, its own included; one more where an even width looks
    both ways."""

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1:
            raise bad_knob(self, "width", "it must be at least 1")

    def pattern(self, mask: Mask) -> Mask:
        return mask & reach(self.width, mask)

    def check_length(self, T: int) -> None:
        if self.width > T:
            raise bad_knob(self, "width", f"it is wider than the text of {T} tokens")

    def state_size(self, S, H, Hv):
        return min(S, self.width) * (H + Hv)


def reach(width: int, mask: Mask) -> Window:
    """The window of `width` keys: all behind a query that may not look ahead."""
    ahead = bool(mask.predicate(0, 1))
    return Window(width // 2, width // 2) if ahead else Window(width - 1, 0)
