"""Performer: positive random features for the softmax kernel (FAVOR+)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from attn.kernels.base import matmul_flops, wide
from attn.kernels.lowrank.features import FeatureAttention

CEILING = 50.0
"""exp(50) is 5e21: a million keys of it still add up in float32."""


@dataclass(frozen=True)
class Performer(FeatureAttention):
    """FAVOR+: Choromanski et al. 2021, section 2.3, lemma 1, and 2.4 (orthogonality).

    phi(x)_r = exp(w_r . x' - |x'|^2 / 2) with x' = x / H^(1/4) and w_r normal, so the
    expectation of phi(q) . phi(k) is exp(q . k / sqrt(H)). O(T R Hv) time; an unbiased
    estimate of the unnormalised weights, whose error falls as 1 / sqrt(R).
    """

    name = "performer"
    least: ClassVar = {"num_features": 1}

    num_features: int = 64
    """Random features of a head, R."""

    @property
    def owns(self):
        return "features"

    def init(self, key, *, head_dim, kv_len):
        """Blocks of orthogonal directions, with the lengths of normal vectors."""
        H, R = head_dim, self.num_features
        turn, stretch = jax.random.split(key)
        blocks = jax.random.orthogonal(turn, H, shape=(-(-R // H),))
        lengths = jnp.linalg.norm(jax.random.normal(stretch, (R, H)), axis=1)
        return {"directions": blocks.reshape(-1, H)[:R] * lengths[:, None]}

    def rank(self, H):
        return self.num_features

    def flops(self, T, S, H, Hv, mask):
        return super().flops(T, S, H, Hv, mask) + matmul_flops(T + S, H, self.rank(H))

    def features(self, q, k, weights):
        """phi(q) and phi(k), each up to a factor that cancels.

        Queries are divided by their largest feature. Keys are left as they are, since
        a maximum over them would look into the future; exp(w . k' - |k'|^2 / 2) is at
        most exp(|w|^2 / 2), and what of that exceeds `CEILING` moves to the query.
        """
        w = wide(weights["directions"])
        q, k = (wide(x) * x.shape[-1] ** -0.25 for x in (q, k))
        excess = jnp.maximum(0.5 * jnp.square(w).sum(axis=1)[None] - CEILING, 0.0)
        of_q = q @ w.T + excess
        of_k = k @ w.T - excess - 0.5 * jnp.square(k).sum(axis=1, keepdims=True)
        # A factor of one query cancels in its normalisation; the gradient with it.
        top = jax.lax.stop_gradient(of_q.max(axis=1, keepdims=True))
        return jnp.exp(of_q - top), jnp.exp(of_k)
