"""Mechanisms of attention, one file each. To add one: its file, and a line here."""

from attn.kernels.base import CAPABILITIES, Family, Kernel
from attn.kernels.differential import Differential
from attn.kernels.lowrank.based import Based
from attn.kernels.lowrank.linear import Linear
from attn.kernels.lowrank.linformer import Linformer
from attn.kernels.lowrank.nystrom import Nystrom
from attn.kernels.lowrank.performer import Performer
from attn.kernels.lowrank.synthesizer import Synthesizer
from attn.kernels.recurrent.gated_delta import GatedDelta
from attn.kernels.recurrent.retention import Retention
from attn.kernels.recurrent.rglru import RGLRU
from attn.kernels.softmax import Softmax
from attn.kernels.sparse.bigbird import BigBirdAttention
from attn.kernels.sparse.dilated import DilatedAttention
from attn.kernels.sparse.fixed import FixedAttention
from attn.kernels.sparse.local import LocalAttention
from attn.kernels.sparse.longformer import Longformer
from attn.kernels.sparse.moba import MoBA
from attn.kernels.sparse.nsa import NativeSparseAttention
from attn.kernels.sparse.reformer import Reformer
from attn.kernels.sparse.sinkhorn import SinkhornAttention
from attn.kernels.sparse.streaming import StreamingAttention
from attn.kernels.sparse.strided import StridedAttention
from attn.kernels.sparse.topk import TopK
from attn.kernels.sparse.window import WindowAttention
from attn.kernels.tokens import TokenInfo

KERNELS: dict[str, type[Kernel]] = {
    spec.name: spec
    for spec in (
        Softmax,
        Differential,
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
        TopK,
        MoBA,
        NativeSparseAttention,
        Linear,
        Performer,
        Based,
        Linformer,
        Nystrom,
        Synthesizer,
        Retention,
        GatedDelta,
        RGLRU,
    )
}
"""Every mechanism by its name, in order of family: dense, sparse, lowrank, recurrent."""

__all__ = [
    "CAPABILITIES",
    "KERNELS",
    "RGLRU",
    "Based",
    "BigBirdAttention",
    "Differential",
    "DilatedAttention",
    "Family",
    "FixedAttention",
    "GatedDelta",
    "Kernel",
    "Linear",
    "Linformer",
    "LocalAttention",
    "Longformer",
    "MoBA",
    "NativeSparseAttention",
    "Nystrom",
    "Performer",
    "Reformer",
    "Retention",
    "SinkhornAttention",
    "Softmax",
    "StreamingAttention",
    "StridedAttention",
    "Synthesizer",
    "TokenInfo",
    "TopK",
    "WindowAttention",
]
