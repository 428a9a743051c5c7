"""Blockwise softmax attention in O(T) memory, over the tile schedule of a mask.

The forward pass keeps a running maximum and sum for each query (Milakov and
Gimelshein 2018; Rabe and Staats 2021). The backward pass recomputes the weights
from the log-sum-exp, and gives all gradients in one pass over the tiles (Dao et al.
2022, algorithm 4). Tiles that the mask hides are never visited, and tiles that it
shows whole are not masked. A step works on a few heads, so scratch memory is a few
tiles whatever the batch is; a mask that is cheaper with its tokens in another order
(`choose_reorderings`) takes copies of the arrays beside that.
"""

from attn.kernels.blockwise.call import blockwise_attention
from attn.kernels.blockwise.plan import SCORES_AT_ONCE
from attn.kernels.blockwise.reorder import choose_reorderings
from attn.kernels.blockwise.reordered import reordered_attention

__all__ = [
    "SCORES_AT_ONCE",
    "blockwise_attention",
    "choose_reorderings",
    "reordered_attention",
]
