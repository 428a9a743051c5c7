"""Softmax attention, the base of all mechanisms that are softmax under a mask."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.kernels.base import Kernel, Weights, bad_knob, matmul_flops
from attn.kernels.dense import dense_attention
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask


@dataclass(frozen=True)
class Softmax(Kernel):
    """Softmax attention, softmax(q k^T / sqrt(H)) v, over the keys that the mask shows.

    Vaswani et al. 2017, section 3.2.1, equation 1. Time O(T S density); memory O(T S)
    by definition (`dense`), O(T + S) tile by tile (`blockwise`), by a library's kernel
    (`cudnn`, `tokamax`, `splash`) or by our own, for GPUs (`triton`) and TPUs
    (`pallas`). `dense` has derivatives of every order and mode; `blockwise` has reverse
    mode, and its gradient both modes again. A subclass that overrides `pattern` is
    softmax attention under that mask, and nothing else (`attn.kernels.sparse.base`).
    """

    name = "softmax"
    family = "dense"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "cross", "key_padding", "packing"}
        | {"positions", "bias", "relative_bias", "scale", "lse", "map", "exact"}
        | {"normalised", "decoding"}
    )
    keeps = "keys"
    implementations = ("dense", "blockwise")
    over_all_heads = True
    backends = ("cudnn", "tokamax", "triton", "splash", "pallas")
    strategies = ("ring", "all_to_all", "all_gather")

    softcap: float | None = None
    """Soft-cap c of scores, in c tanh(scores / c) (Gemma 2, section 2). Scores are
    scaled and biased before: a bias is capped with them, and no other order is
    offered."""
    sinks: bool = False
    """Whether each head learns a score that takes part in the softmax and has no value
    (gpt-oss)."""

    def __post_init__(self):
        super().__post_init__()
        if self.softcap is not None and not self.softcap > 0:  # NaN too
            raise bad_knob(self, "softcap", "it must be above 0, or None")

    @property
    def owns(self):
        return "weights" if self.sinks else "nothing"

    def init(self, key, *, head_dim, kv_len):
        """The score of the sink, initially 0."""
        return {"sink": jnp.zeros(())} if self.sinks else {}

    def num_weights(self, H, S):
        return int(self.sinks)

    def num_pairs(self, mask, T, S):
        return self.pattern(mask, T, S).count(T, S)

    def flops(self, T, S, H, Hv, mask):
        return matmul_flops(T, S, H + Hv) * self.pattern(mask, T, S).density(T, S)

    def own_scoring(self, scoring, weights):
        """Adds the soft-cap, and the sinks where there are any."""
        sinks = None if weights is None else weights["sink"]
        return replace(scoring, softcap=self.softcap, sinks=sinks)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights | None = None,
        scoring: Scoring = PLAIN,
        q_info: TokenInfo = NO_INFO,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends by definition: [T, Hv]; a query that sees nothing gives 0."""
        out, _ = self.with_lse(
            q,
            k,
            v,
            mask=mask,
            weights=weights,
            scoring=scoring,
            q_info=q_info,
            kv_info=kv_info,
        )
        return out

    def with_lse(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights | None = None,
        scoring: Scoring = PLAIN,
        q_info: TokenInfo = NO_INFO,
        kv_info: TokenInfo = NO_INFO,
    ) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
        """Computes the output [T, Hv] and the float32 log-sum-exp of the scores [T]."""
        return dense_attention(
            q,
            k,
            v,
            mask=self.pattern(mask, len(q), len(k)),
            scoring=self.own_scoring(scoring, weights),
            q_info=q_info,
            kv_info=kv_info,
        )
