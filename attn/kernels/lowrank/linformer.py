"""Linformer: keys and values projected along the sequence."""

from dataclasses import dataclass
from typing import ClassVar

import jax
from jaxtyping import Array, Float

from attn.errors import UserError
from attn.kernels.base import Kernel, Weights, matmul_flops
from attn.kernels.dense import clean, dense_attention
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask


@dataclass(frozen=True)
class Linformer(Kernel):
    """Attention to keys projected along the sequence: Wang et al. 2020, equation 7.

        softmax(q (E k)^T / sqrt(H)) F v

    E and F are learned, `rank` × S for each head, so O(T rank) time and memory. They
    mix all positions, so it cannot be causal, and it is made for one longest sequence;
    padding is taken out before the projection.
    """

    name = "linformer"
    family = "lowrank"
    can: ClassVar[frozenset[str]] = frozenset(
        {"bidirectional", "cross", "key_padding", "scale", "map"}
    )
    least: ClassVar = {"rank": 1}
    within = ("rank",)
    strategies = ("all_to_all", "all_gather")

    rank: int = 32
    """Projected keys, R."""

    @property
    def owns(self):
        return "weights"

    def init(self, key, *, head_dim, kv_len):
        """Draws E and F, each [R, S], normal with variance 1 / S."""
        of_k, of_v = jax.random.split(key)
        shape = (self.rank, kv_len)
        return {
            "E": jax.random.normal(of_k, shape) * kv_len**-0.5,
            "F": jax.random.normal(of_v, shape) * kv_len**-0.5,
        }

    def num_weights(self, H, S):
        return 2 * self.rank * S

    def flops(self, T, S, H, Hv, mask):
        return matmul_flops(self.rank, H + Hv, S + T)

    def state_size(self, S, H, Hv, mask):
        return self.rank * (H + Hv)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights,
        scoring: Scoring = PLAIN,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv]. S may be shorter than the length given to `init`."""
        S, kv_len = k.shape[0], weights["E"].shape[1]
        if kv_len < S:
            raise UserError(
                f"linformer was made for sequences of {kv_len} keys and was given {S}; "
                f"init it with kv_len = {S}"
            )
        E, F = (weights[name][:, :S].astype(v.dtype) for name in ("E", "F"))
        kv_ids = kv_info.ids(S)
        k, v = E @ clean(k, kv_ids), F @ clean(v, kv_ids)
        return dense_attention(q, k, v, mask=FULL, scoring=scoring)[0]
