"""PyTorch rivals on the same cores: its fused attention, and FlexAttention."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.rival import Built, Rival, require_memory
from attn.masks import FULL, Causal
from attn.records.environment import cores


class TorchRival(Rival):
    """A rival that is a function of torch tensors [B, N, T, H], on all cores."""

    package = "torch"

    def why_unsupported(self, case: Case) -> str | None:
        if jax.default_backend() != "cpu":
            return "is measured on the CPU; JAX runs elsewhere here"
        return super().why_unsupported(case)

    def build(self, case: Case, inputs: Inputs) -> Built:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(cores() or 1)
        dtype = getattr(torch, case.dtype)
        arrays = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in inputs.arrays]
        q, k, v, g = (torch.from_numpy(x).to(dtype) for x in arrays)
        start = time.perf_counter()
        function = self.function(case)

        def forward():
            with torch.no_grad():
                return [function(q, k, v)]

        def backward():
            qkv = [x.detach().requires_grad_() for x in (q, k, v)]
            out = function(*qkv)
            return [out, *torch.autograd.grad(out, qkv, g)]

        call = backward if case.backward else forward
        first = call()
        took = time.perf_counter() - start
        found = [x.detach().to(torch.float32).numpy() for x in first]
        return Built(
            call, [x.swapaxes(1, 2) for x in found], took, note=self.note(case)
        )


class TorchSDPA(TorchRival):
    """`scaled_dot_product_attention`: a fused CPU kernel, forward and backward."""

    name = "torch sdpa"

    def note(self, case: Case) -> str:
        return "" if case.mask in (FULL, Causal()) else "dense mask"

    def function(self, case: Case) -> Callable[..., Any]:
        import torch  # pyright: ignore[reportMissingImports]

        attend = torch.nn.functional.scaled_dot_product_attention
        grouped = case.K != case.N
        causal, mask = case.mask == Causal(), None
        if case.mask not in (FULL, Causal()):
            # The boolean mask, and the float32 one that torch makes of it.
            require_memory(5 * case.T * case.S)
            mask = torch.from_numpy(np.array(case.mask.dense(case.T, case.S)))

        def call(q, k, v):
            return attend(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped)

        return call


class FlexAttention(TorchRival):
    """`flex_attention`, compiled, with a block mask of the same predicate."""

    name = "torch flex"

    def why_unsupported(self, case: Case) -> str | None:
        if case.backward:
            return "has no backward pass on the CPU"
        return super().why_unsupported(case)

    def function(self, case: Case) -> Callable[..., Any]:
        import torch  # pyright: ignore[reportMissingImports]
        from torch.nn.attention.flex_attention import (  # pyright: ignore[reportMissingImports]
            create_block_mask,
            flex_attention,
        )

        blocks = None
        if case.mask != FULL:
            blocks = create_block_mask(
                lambda b, h, q, k: case.mask.predicate(q, k),
                *(None, None, case.T, case.S),
                device="cpu",
            )
        compiled = torch.compile(flex_attention)
        grouped = case.K != case.N

        def call(q, k, v):
            return compiled(q, k, v, block_mask=blocks, enable_gqa=grouped)

        return call
