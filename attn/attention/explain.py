"""Explanations of a call without running it: implementation, reasons, cost."""

from dataclasses import dataclass
from typing import Any, Unpack

import jax
import numpy as np

from attn.attention.call import Call, CallOptions, make_call
from attn.attention.check import check
from attn.attention.choose import choose_implementation, recording
from attn.attention.sequence import run
from attn.kernels.base import Kernel
from attn.masks import PerHead


@dataclass(frozen=True)
class Explanation:
    """The implementation a call gets, why the others were passed over, and its cost.

    Under a mask for each head, heads may get several: then the first two say which, in turn.
    """

    kernel: str
    implementation: str
    reason: str
    """The reason why it was chosen."""
    not_chosen: dict[str, str]
    """Every other implementation, and why it was not chosen."""
    density: float
    """Share of the T x S map that the mask and the kernel's pattern show."""
    flops: float
    """Matmul FLOPs of the whole batch, forward."""
    temp_bytes: int | None
    """Scratch memory of the compiled forward call, where the backend reports it."""


def explain(
    kernel: Kernel,
    q: Any,
    k: Any,
    v: Any,
    *,
    impl: str = "auto",
    **options: Unpack[CallOptions],
) -> Explanation:
    """Explains what `attend` would do with these arguments; compiles, but runs nothing.

    Args:
        q, k, v: arrays, or what has their shape and dtype (`jax.ShapeDtypeStruct`).
    """
    call = make_call(kernel, q, k, v, **options)
    check(call)
    _, reasons = choose_implementation(kernel, call.shape(), impl)
    with recording() as found:
        scratch = temp_bytes(call, impl)
    chosen = list(dict.fromkeys(choice.implementation for choice in found))
    (B, T, N, H), S = q.shape, k.shape[1]
    masks = call.mask.masks if isinstance(call.mask, PerHead) else [call.mask] * N
    return Explanation(
        kernel.name,
        ", ".join(chosen),
        "; ".join(dict.fromkeys(choice.reason for choice in found)),
        {name: why for name, why in reasons.items() if name not in chosen},
        float(np.mean([kernel.pattern(one, T, S).density(T, S) for one in masks])),
        B * sum(kernel.flops(T, S, H, v.shape[-1], one) for one in masks),
        scratch,
    )


def temp_bytes(call: Call, impl: str) -> int | None:
    """Scratch memory of the compiled forward call, where the backend reports it."""
    compiled = jax.jit(lambda call: run(call, impl)).lower(call).compile()
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes if memory else None
