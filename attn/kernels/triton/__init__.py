"""Softmax attention on an NVIDIA GPU over the tiles of any mask, in Pallas by Triton.

The libraries' kernels for GPUs refuse what is no band or no interval of keys (a window
beside global tokens, BigBird, any layout), segments, positions known at run time, soft-caps,
sinks, the log-sum-exp, and float32; this one serves them. A program visits the tiles that
the mask shows of one block of queries (backward, of keys as well): FULL ones without a mask,
PARTIAL ones by the mask's predicate or by a table of their pairs. The plan is
FlexAttention's (Dong et al. 2024, arXiv:2412.05496), the arithmetic FlashAttention-2's (Dao
2023, arXiv:2307.08691).
"""

from attn.kernels.triton.call import triton_attention
from attn.kernels.triton.lines import why_too_large
from attn.kernels.triton.plan import Blocks, Kernels, choose_blocks

__all__ = ["Blocks", "Kernels", "choose_blocks", "triton_attention", "why_too_large"]
