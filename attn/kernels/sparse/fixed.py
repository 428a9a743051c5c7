"""Fixed attention: the second pattern of the Sparse Transformer."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.base import bad_knob
from attn.kernels.sparse.base import SparseSoftmax
from attn.masks import Fixed, Mask


@dataclass(frozen=True)
class FixedAttention(SparseSoftmax):
    """Softmax over the query's own block and the last `columns` keys of every block.

    Child et al. 2019 (Sparse Transformer), section 4.3, A1 = {s : floor(s / l) =
    floor(t / l)} and A2 = {s : s mod l >= l - c} with l = `stride`, c = `columns`, both
    in one head (their merged head, section 5.1). O(T (stride + columns T / stride))
    time. Decoding keeps one block and the columns of those before, which still grow
    with the sequence. Other blocks see a block's last keys alone. A tile of `stride`
    tokens or more holds some of them: `blockwise` takes each block alone, and the last
    keys of all blocks side by side (`attn.kernels.blockwise.reorder`).
    """

    name = "fixed"
    least: ClassVar = {"stride": 1, "columns": 1}

    stride: int = 16
    """Tokens of a block."""
    columns: int = 2
    """Keys at the end of each block that all queries see."""

    def __post_init__(self):
        super().__post_init__()
        if self.columns > self.stride:
            raise bad_knob(
                self, "columns", f"it must be at most stride = {self.stride}"
            )

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Fixed(self.stride, self.columns)
