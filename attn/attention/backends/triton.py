"""A Triton kernel of our own over the tiles of any mask, and its limits."""

from dataclasses import dataclass, field
from typing import ClassVar

from attn.attention.backends.base import Backend
from attn.attention.backends.splash import foreign_operations
from attn.kernels.triton import (
    choose_blocks,
    triton_attention,
    why_too_large,
)
from attn.masks import FULL, PerHead


@dataclass(frozen=True)
class Triton(Backend):
    """A Pallas kernel for NVIDIA GPUs of our own: every mask, packing, sinks, float32.

    It exists for what cuDNN and tokamax refuse: masks of more than one interval of keys a
    query, segments, padding, positions known at run time, the soft-cap, sinks, the
    log-sum-exp with its gradient, and float32.
    """

    name = "triton"
    source = "attn.kernels.triton"
    packages = ("jax_cuda13_plugin", "jax_cuda12_plugin")
    install = "install the extra attn[cuda]"
    vendor = "NVIDIA"
    least_generation = 8.0
    dtypes = ("bfloat16", "float16", "float32")
    can: ClassVar[frozenset[str]] = frozenset(
        {"scale", "softcap", "sinks", "packing", "key_padding", "lengths"}
        | {"positions", "lse"}
    )
    head_multiple = 1
    head_max = 256
    own_value_dim = True

    interpret: bool = field(default=False, kw_only=True)
    """Whether to run in interpret mode: plain jax operations, on any device, slowly."""

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        return triton_attention(
            q,
            k,
            v,
            mask=mask,
            scoring=scoring,
            q_info=q_info,
            kv_info=kv_info,
            tabled=bool(foreign_operations(mask)),
            interpret=self.interpret,
        )

    def _mask(self, shape):
        mask, T, S = shape.mask, shape.T, shape.S
        if isinstance(mask, PerHead):
            return f"mask {mask} differs between heads; it takes one for all"
        strange = foreign_operations(mask)
        if strange and "positions" in shape.required:
            return (
                f"mask {mask} computes {', '.join(strange)} of positions known at run "
                "time, which cannot run inside the kernel"
            )
        if "positions" in shape.required:
            mask, strange = FULL, ()
        itemsize = 4 if shape.dtype == "float32" else 2
        widest = max(shape.H, shape.Hv)
        kernels = choose_blocks(T, S, widest, itemsize, shape.device)
        sizes = {(one.line, one.other) for one in kernels}
        reasons = (why_too_large(mask, T, S, pair, bool(strange)) for pair in sizes)
        return next((reason for reason in reasons if reason), None)
