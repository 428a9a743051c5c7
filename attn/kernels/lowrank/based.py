"""Based: linear attention whose feature map is exp's second-order Taylor series."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from attn.kernels.base import matmul_flops, wide
from attn.kernels.lowrank.features import FeatureAttention


@dataclass(frozen=True)
class Based(FeatureAttention):
    """Linear attention with a second-order Taylor map: Arora et al. 2024 (Based), 4.

        phi(x) = [1, x, vec(x x^T) / sqrt 2]

    Of x = q W_q / d^(1/4), and k W_k / d^(1/4), phi(q) . phi(k) = 1 + s + s^2 / 2 for
    the score s = q W_q . k W_k / sqrt(d): near exp(s) where s is small, and never under
    1/2. O(T d^2 Hv) time; decoding keeps a state that grows as d^2 and not with the
    sequence. It cannot suppress a key: below s = -1 its weight grows again.

    The paper projects the layer's input to queries and keys of width d. Here the layer
    makes them of width H and the kernel projects again; the product of the two is the
    same class of maps wherever d <= H. The paper keeps x_i x_j and x_j x_i; they are
    kept once here, times sqrt 2: the same phi(q) . phi(k) from little over half a
    state. Its models mix such layers with windows and convolutions: here they are
    layers too.
    """

    name = "based"
    least: ClassVar = {"feature_dim": 1}
    rotates = False
    """W_q and W_k come after the rotation and do not commute with it: scores of rotated
    queries and keys would depend on their positions, not on their distance alone."""

    feature_dim: int = 16
    """Width that queries and keys are projected to, d; the state grows as its
    square."""

    @property
    def owns(self):
        return "weights"

    def init(self, key, *, head_dim, kv_len):
        """Draws W_q and W_k, each [H, d], normal with variance 1 / H."""
        shape = (head_dim, self.feature_dim)
        drawn = (jax.random.normal(own, shape) for own in jax.random.split(key))
        return {n: w * head_dim**-0.5 for n, w in zip(("W_q", "W_k"), drawn)}

    def num_weights(self, H, S):
        return 2 * H * self.feature_dim

    def rank(self, H):
        d = self.feature_dim
        return 1 + d + d * (d + 1) // 2

    def flops(self, T, S, H, Hv, mask):
        projections = matmul_flops(T + S, H, self.feature_dim)
        return super().flops(T, S, H, Hv, mask) + projections

    def features(self, q, k, weights):
        q, k = (wide(x) @ wide(weights[n]) for n, x in (("W_q", q), ("W_k", k)))
        scale = self.feature_dim**-0.25
        return _taylor(q * scale), _taylor(k * scale)


def _taylor(x):
    """Maps [T, d] to [T, 1 + d + d (d + 1) / 2]: squares / sqrt 2, products i < j."""
    squares = jnp.square(x) * 0.5**0.5
    products = [x[:, i : i + 1] * x[:, i + 1 :] for i in range(x.shape[1] - 1)]
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x, squares, *products], axis=1)
