"""Triton kernels of flash-linear-attention for the mechanisms that are the same function."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from attn.bench.cases import Case
from attn.bench.check import weights_of
from attn.bench.device import torch_device
from attn.bench.torch_rivals import TorchRival


class Fla(TorchRival):
    """flash-linear-attention's kernels over chunks, on NVIDIA GPUs.

    `chunk_retention` has the decays of `Retention`, head by head, and its scale.
    `chunk_gated_delta_rule` is given the gates that `GatedDelta` makes of the keys, made
    in torch within the call, and no scale; it normalises queries and keys itself, with
    1e-6 under the root, where ours lets a vector of nearly no length be 0.
    """

    name, package = "fla", "fla"
    heads_first = False

    def computes(self, mechanism: str) -> bool:
        """Whether it has a kernel for a mechanism."""
        return mechanism in FUNCTIONS

    def why_unsupported(self, case: Case) -> str | None:
        if jax.default_backend() == "cpu":
            return "takes NVIDIA GPUs"
        return super().why_unsupported(case)

    def trained(self, case: Case) -> list[Any]:
        import torch  # pyright: ignore[reportMissingImports]

        if case.mechanism != "gated_delta":
            return []
        weights = {n: np.array(x) for n, x in weights_of(case).items()}
        return [torch.from_numpy(weights[n]).to(torch_device()) for n in GATES]

    def function(self, case: Case) -> Callable[..., Any]:
        return FUNCTIONS[case.mechanism]()


GATES = ("w_alpha", "b_alpha", "w_beta", "b_beta")
"""The weights of `GatedDelta`, in the order in which `gates` takes them."""


def retention() -> Callable[..., Any]:
    """Retention by fla: a function of q, k, v [B, T, N, H]."""
    from fla.ops.retention import (  # pyright: ignore[reportMissingImports]
        chunk_retention,
    )

    return lambda q, k, v: chunk_retention(q, k, v)[0]


def gated_delta() -> Callable[..., Any]:
    """The gated delta rule by fla: a function of q, k, v [B, T, N, H] and the weights."""
    from fla.ops.gated_delta_rule import (  # pyright: ignore[reportMissingImports]
        chunk_gated_delta_rule,
    )

    def call(q, k, v, *weights):
        log_keep, beta = gates(k, *weights)
        beta = beta.to(k.dtype)
        options = {"scale": 1.0, "use_qk_l2norm_in_kernel": True}
        return chunk_gated_delta_rule(q, k, v, log_keep, beta, **options)[0]

    return call


def gates(k: Any, w_alpha: Any, b_alpha: Any, w_beta: Any, b_beta: Any) -> Any:
    """The logarithm of what is kept and the share that is written, [B, T, N] float32."""
    import torch  # pyright: ignore[reportMissingImports]

    def linear(w, b):
        return torch.einsum("btnh,nh->btn", k, w.to(k.dtype)).float() + b

    log_keep = -torch.nn.functional.softplus(linear(w_alpha, b_alpha))
    return log_keep, torch.sigmoid(linear(w_beta, b_beta))


FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "retention": retention,
    "gated_delta": gated_delta,
}
"""The functions of fla by mechanism."""
