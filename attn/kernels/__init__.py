"""Mechanisms of attention, one file each. To add one: its file, and a line here."""

from attn.kernels.base import CAPABILITIES, Family, Kernel
from attn.kernels.lowrank.linear import Linear
from attn.kernels.lowrank.linformer import Linformer
from attn.kernels.lowrank.performer import Performer
from attn.kernels.softmax import Softmax
from attn.kernels.sparse.bigbird import BigBirdAttention
from attn.kernels.sparse.dilated import DilatedAttention
from attn.kernels.sparse.fixed import FixedAttention
from attn.kernels.sparse.local import LocalAttention
from attn.kernels.sparse.longformer import Longformer
from attn.kernels.sparse.reformer import Reformer
from attn.kernels.sparse.sinkhorn import SinkhornAttention
from attn.kernels.sparse.streaming import StreamingAttention
from attn.kernels.sparse.strided import StridedAttention
from attn.kernels.sparse.window import WindowAttention

KERNELS: dict[str, type[Kernel]] = {
    spec.name: spec
    for spec in (
        Softmax,
        WindowAttention,
        DilatedAttention,
        LocalAttention,
        StridedAttention,
        FixedAttention,
        Longformer,
        BigBirdAttention,
        StreamingAttention,
        Reformer,
        SinkhornAttention,
        Linear,
        Performer,
        Linformer,
    )
}
"""Every mechanism by its name, in order of family: dense, sparse, lowrank."""

__all__ = [
    "CAPABILITIES",
    "KERNELS",
    "BigBirdAttention",
    "DilatedAttention",
    "Family",
    "FixedAttention",
    "Kernel",
    "Linear",
    "Linformer",
    "LocalAttention",
    "Longformer",
    "Performer",
    "Reformer",
    "SinkhornAttention",
    "Softmax",
    "StreamingAttention",
    "StridedAttention",
    "WindowAttention",
]
