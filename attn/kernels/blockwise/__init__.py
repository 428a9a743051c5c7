"""Softmax attention in O(T) memory: tile by tile over a mask's schedule.

The forward pass keeps a running maximum and sum for each query (Milakov and
Gimelshein 2018; Rabe and Staats 2021). The backward pass computes the scores again
from the log-sum-exp, and gives all gradients in one walk over the tiles (Dao et al.
2022, algorithm 4). Tiles that the mask hides are never visited, and tiles that it
shows whole are not masked. A step works on a few heads, so scratch memory is a few
tiles whatever the batch is; a mask that is cheaper in parts (`cover`) takes copies of
the arrays beside that.
"""

from attn.kernels.blockwise.call import blockwise_attention
from attn.kernels.blockwise.cover import cover, tile_numbers
from attn.kernels.blockwise.parts import attend_in_parts
from attn.kernels.blockwise.plan import SCORES_AT_ONCE

__all__ = [
    "SCORES_AT_ONCE",
    "attend_in_parts",
    "blockwise_attention",
    "cover",
    "tile_numbers",
]
