"""Differential attention: one softmax map minus a multiple of another."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.kernels.base import Weights, bad_knob, matmul_flops, wide
from attn.kernels.composed import Composed, SoftmaxOf


@dataclass(frozen=True)
class Differential(Composed):
    """Differential attention: Ye et al. 2024, section 2.1.

        (softmax(q1 k1^T s) - lambda softmax(q2 k2^T s)) v

    lambda = exp(a1 . b1) - exp(a2 . b2) + lambda_init of four learned vectors, and s =
    (H / 2)^-0.5. What both maps have in common cancels. A head of the paper has q1, q2,
    k1, k2 of width d and v of 2 d; here H is that 2 d, and q1, k1 are the even
    channels, q2, k2 the odd ones, so that the pairs that rotary positions rotate stay
    in one map and both maps have fast and slow ones. Time and memory of two softmaxes
    on half the width, which read the values twice.

    The paper's norm of each head is the layer's (`head_norm`), and its factor
    1 - lambda_init is left to that norm's weight. Its heads share one lambda a layer;
    here each has its own. A row of the map sums to 1 - lambda, and it may hold negative
    weights.
    """

    name = "differential"
    family = "dense"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "cross", "key_padding", "packing"}
        | {"positions", "scale", "map", "decoding"}
    )
    keeps = "keys"
    strategies = ("all_to_all", "all_gather")
    head_norm = True
    # Two halves, each of whole rotary pairs.
    head_multiple = 4

    lambda_init: float = 0.8
    """The initial lambda. The paper's is 0.8 - 0.6 exp(-0.3 (l - 1)) in layer l, from
    0.2 up; a spec does not know its layer, so all layers have the limit."""

    @property
    def owns(self):
        return "weights"

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.lambda_init < 1:
            raise bad_knob(self, "lambda_init", "it must be at least 0 and below 1")

    def init(self, key, *, head_dim, kv_len):
        """Draws a1, b1, a2, b2, each [H / 2], normal with deviation 0.1."""
        drawn = 0.1 * jax.random.normal(key, (4, head_dim // 2))
        return dict(zip(("a1", "b1", "a2", "b2"), drawn, strict=True))

    def num_weights(self, H, S):
        return 2 * H

    def flops(self, T, S, H, Hv, mask):
        return matmul_flops(T, S, H + 2 * Hv) * mask.density(T, S)

    def compose(
        self,
        softmax: SoftmaxOf,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        weights: Weights,
        scale: float | None,
    ) -> Float[Array, "B T N Hv"]:
        """Computes equation 1; `scale` is (H / 2) ** -0.5 unless given."""
        first, second = (
            wide(softmax(q[..., half::2], k[..., half::2], v, scale)) for half in (0, 1)
        )
        share = self.share(weights)[None, None, :, None]
        return (first - share * second).astype(v.dtype)

    def share(self, weights: Weights) -> Float[Array, "N"]:
        """Computes lambda of every head by equation 2."""

        def power(a: str, b: str) -> Float[Array, "N"]:
            a_, b_ = (wide(weights[name]) for name in (a, b))
            return jnp.exp((a_ * b_).sum(axis=-1))

        return power("a1", "b1") - power("a2", "b2") + self.lambda_init
