"""Mechanisms in place of the attention of pretrained weights, each at several budgets.

    python launch.py fetch smollm2 state-of-the-union
    python launch.py swap smollm2

Mechanisms with no arrays of their own, so that every weight is the checkpoint's. Of 512
tokens they keep from 3 to 44 % of the scores; linear attention, which keeps none of
softmax, is the bad end. Under a causal mask Longformer is streaming attention, so it has
no line.
"""

from attn.kernels import (
    BigBirdAttention,
    DilatedAttention,
    Linear,
    LocalAttention,
    MoBA,
    StreamingAttention,
    StridedAttention,
    TopK,
    WindowAttention,
)
from attn.registry import Replacement, register

SINKS = 4
"""First tokens that streaming attention keeps: Xiao et al. 2023, section 3.2."""
BLOCK = 16
"""Keys of a block of MoBA and of BigBird."""
BUDGETS = (8, 32, 128)
"""Keys that a query keeps at most."""

register(
    Replacement("window", tuple(WindowAttention(width=n) for n in BUDGETS)),
    Replacement(
        "streaming",
        tuple(StreamingAttention(num_first=SINKS, width=n - SINKS) for n in BUDGETS),
    ),
    Replacement("top-k", tuple(TopK(num_keys=n) for n in BUDGETS)),
    Replacement(
        "moba",
        tuple(MoBA(block=BLOCK, num_blocks=n // BLOCK) for n in BUDGETS[1:]),
    ),
    Replacement("linear", (Linear(),)),
    Replacement("local", tuple(LocalAttention(block=n) for n in BUDGETS[1:])),
    Replacement("bigbird", (BigBirdAttention(block=BLOCK, num_global=1),)),
    Replacement("strided", (StridedAttention(stride=16), StridedAttention(stride=64))),
    Replacement("dilated", (DilatedAttention(width=32, dilation=4),)),
)
