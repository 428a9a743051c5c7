"""Masks of every kind, over tokens that fill three blocks of the TPU kernel's, not whole."""

import numpy as np

from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Earlier,
    Fixed,
    Global,
    Prefix,
    Strided,
    Window,
)

L = 300
"""Tokens: three blocks of 128, the last of them not whole."""
BIGBIRD = BigBird(L, block=32, num_random=1)
LAYOUT = Blocks(np.random.default_rng(5).random((30, 30)) < 0.3, 10)
MASKS = {
    "causal": Causal(),
    "window": Window(40, 9),
    "causal window": Causal() & Window(100, 0),
    "global or window": Causal() & (Global(4) | Window(40, 0)),
    "bigbird": BIGBIRD,
    "layout": Causal() & LAYOUT,
    "dilated": Dilated(8, 8, 5),
    "strided": Causal() & (Window(7, 0) | Strided(7)),
    "fixed": Causal() & Fixed(50, 3),
    "prefix": Causal() | Prefix(30),
    "chunks": Chunk(100) | ~Window(200, 200),
    "earlier": Earlier(64, 64),
    "full": FULL,
    "late": Causal(offset=-130),
}
