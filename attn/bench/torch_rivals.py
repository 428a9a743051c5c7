"""PyTorch rivals on the same device: its fused attention, and FlexAttention."""

import time
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.device import torch_device
from attn.bench.measure import Queued
from attn.bench.rival import Built, Rival, require_memory
from attn.masks import FULL, Causal, Mask
from attn.records.environment import cores


class TorchRival(Rival):
    """A rival that is a function of torch tensors, on all cores or on jax's GPU."""

    package = "torch"
    heads_first: ClassVar[bool] = True
    """Whether its layout is [B, N, T, H], not [B, T, N, H]."""

    def why_unsupported(self, case: Case) -> str | None:
        absent = super().why_unsupported(case)
        if absent is None and torch_device() is None:
            return f"has no device here; JAX runs on {jax.default_backend()}"
        return absent

    def trained(self, case: Case) -> list[Any]:
        """The tensors after q, k, v of which gradients are computed, too."""
        return []

    def tensor(self, x: Any, case: Case) -> Any:
        """An array as a contiguous tensor on the device, in the dtype and the layout."""
        import torch  # pyright: ignore[reportMissingImports]

        found = torch.from_numpy(x).to(torch_device()).to(getattr(torch, case.dtype))
        return (found.transpose(1, 2) if self.heads_first else found).contiguous()

    def build(self, case: Case, inputs: Inputs) -> Built:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(cores() or 1)
        *qkv, g = (self.tensor(x, case) for x in inputs.arrays)
        trained = self.trained(case)
        start = time.perf_counter()
        function = self.function(case)

        def forward():
            with torch.no_grad():
                return [function(*qkv, *trained)]

        def backward():
            given = [x.detach().requires_grad_() for x in (*qkv, *trained)]
            out = function(*given)
            return [out, *torch.autograd.grad(out, given, g)]

        call = queued(backward if case.backward else forward)
        first = call()[: 4 if case.backward else 1]
        took = time.perf_counter() - start
        found = [x.detach().to(torch.float32).cpu().numpy() for x in first]
        found = [x.swapaxes(1, 2) if self.heads_first else x for x in found]
        return Built(call, found, took, note=self.note(case))


def queued(call: Callable[[], Any]) -> Callable[[], Any]:
    """A call of torch on its device, where a GPU runs while the host goes on."""
    import torch  # pyright: ignore[reportMissingImports]

    if torch_device() != "cuda":
        return call
    return Queued(call, lambda _: torch.cuda.synchronize())


class TorchSDPA(TorchRival):
    """`scaled_dot_product_attention`: a fused kernel, forward and backward."""

    name = "torch sdpa"

    def note(self, case: Case) -> str:
        return "" if case.mask in (FULL, Causal()) else "dense mask"

    def function(self, case: Case) -> Callable[..., Any]:
        import torch  # pyright: ignore[reportMissingImports]

        attend, device = (
            torch.nn.functional.scaled_dot_product_attention,
            torch_device(),
        )
        grouped = case.K != case.N
        causal, mask = case.mask == Causal(), None
        if case.mask not in (FULL, Causal()):
            free = torch.cuda.mem_get_info()[0] if device == "cuda" else None
            # The boolean mask, and the float32 one that torch makes of it.
            require_memory(5 * case.T * case.S, free)
            mask = torch.from_numpy(np.array(case.mask.dense(case.T, case.S)))
            mask = mask.to(device)

        def call(q, k, v):
            return attend(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)

        return call


class FlexAttention(TorchRival):
    """`flex_attention`, compiled, with a block mask of the same predicate."""

    name = "torch flex"

    def why_unsupported(self, case: Case) -> str | None:
        if case.backward and jax.default_backend() == "cpu":
            return "has no backward pass on the CPU"
        return super().why_unsupported(case)

    def function(self, case: Case) -> Callable[..., Any]:
        import torch  # pyright: ignore[reportMissingImports]
        from torch.nn.attention.flex_attention import (  # pyright: ignore[reportMissingImports]
            create_block_mask,
            flex_attention,
        )

        # Of a second shape the compiler would make a program for every length, and after
        # eight it would compile nothing any more.
        torch.compiler.reset()
        blocks, device = None, torch_device()
        if case.mask != FULL:
            shown = mask_mod(case.mask, case.T, case.S, device)
            sizes = (None, None, case.T, case.S)
            blocks = create_block_mask(shown, *sizes, device=device)
        compiled = torch.compile(flex_attention, dynamic=False)
        grouped = case.K != case.N

        def call(q, k, v):
            return compiled(q, k, v, block_mask=blocks, enable_gqa=grouped)

        return call


def mask_mod(mask: Mask, T: int, S: int, device: str | None) -> Callable[..., Any]:
    """A mask as FlexAttention's function of batch, head, query and key.

    The predicate itself, where it is arithmetic; of a mask that looks a table up that
    table as a tensor: of blocks, where the mask is made of whole ones, else of pairs.
    """
    import torch  # pyright: ignore[reportMissingImports]

    if is_arithmetic(mask):
        return lambda b, h, q, k: mask.predicate(q, k)
    step = getattr(mask, "block", 1)
    rows, columns = np.arange(0, T, step)[:, None], np.arange(0, S, step)[None]
    seen = np.broadcast_to(mask.predicate(rows, columns), (rows.size, columns.size))
    table = torch.from_numpy(np.array(seen)).to(device)
    return lambda b, h, q, k: table[q // step, k // step]


def is_arithmetic(mask: Mask) -> bool:
    """Whether the predicate of a mask takes tensors of torch and gives one."""
    import torch  # pyright: ignore[reportMissingImports]

    try:
        found = mask.predicate(torch.arange(2)[:, None], torch.arange(2)[None])
    except Exception:  # whatever numpy or jax makes of a tensor
        return False
    return isinstance(found, torch.Tensor)
