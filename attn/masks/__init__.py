"""Attention masks as objects: patterns, their algebra, and what is derived from them.

A mask is a small frozen object, never a matrix:

    Causal() & (Window(255, 0) | Global(4))

The same object gives the elementwise predicate, the verdict on a tile by interval
arithmetic, the block schedule, the key interval of each query, the density, a picture
and the dense oracle. It is hashable, so it is a static argument under `jax.jit`. What
is only known at run time (lengths, segment ids) is an argument of `attend`, so a new
batch retraces nothing.

Queries and keys are counted from 0 and aligned at the first: query t is at key t,
whatever T and S are. For queries that end where the keys end, ask for
`Causal(offset=S - T)`.
"""

from attn.masks.absolute import Chunk, Earlier, Fixed, Global, Prefix
from attn.masks.base import FULL, And, Full, Mask, Not, Or
from attn.masks.blocks import BigBird, Blocks
from attn.masks.pattern import Index, Tile
from attn.masks.per_head import PerHead
from attn.masks.relative import Causal, Dilated, Strided, Window
from attn.masks.schedule import Schedule, mask_schedule

__all__ = [
    "FULL",
    "And",
    "BigBird",
    "Blocks",
    "Causal",
    "Chunk",
    "Dilated",
    "Earlier",
    "Fixed",
    "Full",
    "Global",
    "Index",
    "Mask",
    "Not",
    "Or",
    "PerHead",
    "Prefix",
    "Schedule",
    "Strided",
    "Tile",
    "Window",
    "mask_schedule",
]
