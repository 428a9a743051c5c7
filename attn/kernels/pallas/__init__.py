"""Softmax attention on a TPU over the tile schedule of any mask, in Pallas.

Jax's own kernel for TPUs, splash, refuses masks that look a table up (BigBird's random
blocks, any layout), positions known at run time, and the log-sum-exp; this one serves
them. It visits a list of the tiles that a mask shows, and masks those that it shows in
part, by the mask's predicate or by a bit a pair.
"""

from attn.kernels.pallas.call import pallas_attention
from attn.kernels.pallas.tile_list import choose_blocks, why_too_large

__all__ = ["choose_blocks", "pallas_attention", "why_too_large"]
