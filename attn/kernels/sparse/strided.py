"""Strided attention: the first pattern of the Sparse Transformer."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.sparse.base import SparseSoftmax, sides
from attn.masks import Mask, Strided, Window


@dataclass(frozen=True)
class StridedAttention(SparseSoftmax):
    """Softmax over the `stride` nearest keys and every `stride`-th key.

    Child et al. 2019 (Sparse Transformer), section 4.3, A1 = {t - l, ..., t} and A2 =
    {s : (t - s) mod l = 0} with l = `stride`, both in one head (their merged head,
    section 5.1). O(T (stride + T / stride)) time, O(T sqrt(T)) at stride = sqrt(T).
    Decoding must keep almost all keys, since a late query sees each. Made for data with
    a period, such as rows of pixels; on text they found that it can fail. A tile of
    `stride` tokens or more holds some of the far keys: `blockwise` takes every
    `stride`-th token together, so that far keys lie side by side, and the window apart
    (`attn.kernels.blockwise.reorder`).
    """

    name = "strided"
    least: ClassVar = {"stride": 1}

    stride: int = 16
    """Keys of the window, and tokens from one far key to the next."""

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return Window(*sides(self.stride, ahead)) | Strided(self.stride)
