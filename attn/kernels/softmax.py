"""Softmax attention, and the base of every mechanism that is softmax under a mask."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, matmul_flops
from attn.kernels.blockwise import blockwise_attention
from attn.kernels.dense import dense_attention
from attn.masks import Mask


@dataclass(frozen=True)
class Softmax(Kernel):
    """softmax(q k^T / sqrt(H)) v over the keys that the mask shows.

    Vaswani et al. 2017, section 3.2.1, equation 1. Time O(T S density); memory O(T S)
    by definition (`dense`), O(T + S) tile by tile (`blockwise`). A subclass that
    overrides `pattern` is softmax attention under that mask, and nothing else.
    """

    name = "softmax"
    family = "dense"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "cross", "key_padding", "packing"}
        | {"bias", "scale", "lse", "exact"}
    )
    implementations = ("dense", "blockwise")

    def flops(self, T, S, H, Hv, mask):
        return matmul_flops(T, S, H + Hv) * self.pattern(mask).density(T, S)

    def state_size(self, S, H, Hv):
        return S * (H + Hv)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        impl: str = "dense",
        scale: float | None = None,
        bias: Float[Array, "T S"] | None = None,
        q_ids: Int[Array, "T"] | None = None,
        kv_ids: Int[Array, "S"] | None = None,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv]; a query that sees nothing gives 0."""
        return self.with_lse(
            q,
            k,
            v,
            mask=mask,
            impl=impl,
            scale=scale,
            bias=bias,
            q_ids=q_ids,
            kv_ids=kv_ids,
        )[0]

    def with_lse(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        impl: str = "dense",
        scale: float | None = None,
        bias: Float[Array, "T S"] | None = None,
        q_ids: Int[Array, "T"] | None = None,
        kv_ids: Int[Array, "S"] | None = None,
    ) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
        """The output [T, Hv] and the float32 log-sum-exp of the scores [T]."""
        mask = self.pattern(mask)
        if impl == "blockwise":
            return blockwise_attention(
                q, k, v, mask=mask, scale=scale, q_ids=q_ids, kv_ids=kv_ids
            )
        return dense_attention(
            q, k, v, mask=mask, scale=scale, bias=bias, q_ids=q_ids, kv_ids=kv_ids
        )
