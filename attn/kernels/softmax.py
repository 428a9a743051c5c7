"""Softmax attention, and the base of every mechanism that is softmax under a mask."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, Weights, bad_knob, matmul_flops
from attn.kernels.blockwise import tile_numbers
from attn.kernels.dense import dense_attention
from attn.masks import Mask
from attn.positions import RelativeBias


@dataclass(frozen=True)
class Softmax(Kernel):
    """softmax(q k^T / sqrt(H)) v over the keys that the mask shows.

    Vaswani et al. 2017, section 3.2.1, equation 1. Time O(T S density); memory O(T S)
    by definition (`dense`), O(T + S) tile by tile (`blockwise`) or by a library's kernel
    (`cudnn`, `tokamax`, `splash`). `dense` has derivatives of every order and mode;
    `blockwise` has reverse mode, and its gradient both modes again. A subclass that overrides `pattern` is softmax
    attention under that mask, and nothing else (`attn.kernels.sparse.base`).
    """

    name = "softmax"
    family = "dense"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "cross", "key_padding", "packing"}
        | {"positions", "bias", "relative_bias", "scale", "lse", "map", "exact"}
        | {"normalised"}
    )
    implementations = ("dense", "blockwise")
    lifted = True
    backends = ("cudnn", "tokamax", "splash")

    softcap: float | None = None
    """c, in c tanh(scores / c): no score is beyond c (Gemma 2, section 2)."""
    sinks: bool = False
    """Whether a head learns a score that takes its share and gives no value (gpt-oss)."""

    def __post_init__(self):
        super().__post_init__()
        if self.softcap is not None and self.softcap <= 0:
            raise bad_knob(self, "softcap", "it must be above 0, or None")

    @property
    def owns(self):
        return "weights" if self.sinks else "nothing"

    def init(self, key, *, head_dim, kv_len):
        """The score of the sink, 0."""
        return {"sink": jnp.zeros(())} if self.sinks else {}

    def num_weights(self, H, S):
        return int(self.sinks)

    def flops(self, T, S, H, Hv, mask):
        return matmul_flops(T, S, H + Hv) * self.pattern(mask, T, S).density(T, S)

    def scratch_size(self, T, S, H, Hv, mask):
        return tile_numbers(self.pattern(mask, T, S), T, S, H, Hv)

    def state_size(self, S, H, Hv):
        return S * (H + Hv)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        scale: float | None = None,
        bias: Float[Array, "T S"] | RelativeBias | None = None,
        q_ids: Int[Array, "T"] | None = None,
        kv_ids: Int[Array, "S"] | None = None,
        q_positions: Int[Array, "T"] | None = None,
        kv_positions: Int[Array, "S"] | None = None,
        weights: Weights | None = None,
    ) -> Float[Array, "T Hv"]:
        """Attends by definition: [T, Hv]; a query that sees nothing gives 0."""
        return self.with_lse(
            q,
            k,
            v,
            mask=mask,
            scale=scale,
            bias=bias,
            q_ids=q_ids,
            kv_ids=kv_ids,
            q_positions=q_positions,
            kv_positions=kv_positions,
            weights=weights,
        )[0]

    def with_lse(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        scale: float | None = None,
        bias: Float[Array, "T S"] | RelativeBias | None = None,
        q_ids: Int[Array, "T"] | None = None,
        kv_ids: Int[Array, "S"] | None = None,
        q_positions: Int[Array, "T"] | None = None,
        kv_positions: Int[Array, "S"] | None = None,
        weights: Weights | None = None,
    ) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
        """The output [T, Hv] and the float32 log-sum-exp of the scores [T]."""
        return dense_attention(
            q,
            k,
            v,
            mask=self.pattern(mask, len(q), len(k)),
            scale=scale,
            softcap=self.softcap,
            bias=bias,
            sink=None if weights is None else weights["sink"],
            q_ids=q_ids,
            kv_ids=kv_ids,
            q_positions=q_positions,
            kv_positions=kv_positions,
        )
