"""Performer: positive random features for the softmax kernel (FAVOR+)."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float

from attn.kernels.base import matmul_flops, wide
from attn.kernels.lowrank import log_state
from attn.kernels.lowrank.features import FeatureAttention
from attn.kernels.lowrank.linear_state import normalise, with_ones


@dataclass(frozen=True)
class Performer(FeatureAttention):
    """Random-feature attention (FAVOR+): Choromanski et al. 2021, sections 2.3, 2.4.

    phi(x)_r = exp(w_r . x' - |x'|^2 / 2) with x' = x / H^(1/4) and w_r normal, so the
    expectation of phi(q) . phi(k) is exp(q . k / sqrt(H)). O(T R Hv) time; an unbiased
    estimate of the unnormalised weights, whose error falls as 1 / sqrt(R).

    Features are kept as logarithms, and sums relative to the largest key that they hold
    (`log_state`), so queries and keys may have any size. The authors' code divides keys
    by their largest feature over the whole sequence, which a causal output must not
    see. It then adds an epsilon of 1e-6 to every feature of queries and keys (its
    `numerical_stabilizer`), so that weights which underflow become uniform. Lemma 1 has
    no epsilon, and it is left out here.
    """

    name = "performer"
    forms = log_state
    hidden = -inf
    least: ClassVar = {"num_features": 1}

    num_features: int = 64
    """Random features of a head, R."""

    @property
    def owns(self):
        return "features"

    def init(self, key, *, head_dim, kv_len):
        """Draws blocks of orthogonal directions, with the lengths of normal vectors."""
        H, R = head_dim, self.num_features
        directions, norms = jax.random.split(key)
        normal = jax.random.normal(directions, (-(-R // H), H, H))
        blocks = jax.vmap(_orthogonal)(normal)
        lengths = jnp.linalg.norm(jax.random.normal(norms, (R, H)), axis=1)
        return {"directions": blocks.reshape(-1, H)[:R] * lengths[:, None]}

    def rank(self, H):
        return self.num_features

    def flops(self, T, S, H, Hv, mask):
        return super().flops(T, S, H, Hv, mask) + matmul_flops(T + S, H, self.rank(H))

    def state_size(self, S, H, Hv, mask):
        return self.rank(H) * (Hv + 2)

    def begin(self, H, Hv):
        return log_state.begin(self.rank(H), Hv + 1)

    def step(self, state, q, k, v, *, weights=None):
        log_q, log_k = self.features(q[None], k[None], weights or {})
        state = log_state.fold(state, log_k[0], with_ones(v[None])[0])
        sums = log_state.unfold(state, log_q[0])
        return state, normalise(sums[None])[0].astype(v.dtype)

    def features(self, q, k, weights):
        """The logarithms of phi(q), up to a term that cancels, and of phi(k)."""
        w = wide(weights["directions"])
        q, k = (wide(x) * x.shape[-1] ** -0.25 for x in (q, k))
        return q @ w.T, k @ w.T - 0.5 * jnp.square(k).sum(axis=1, keepdims=True)


@sequential_vmap
def _orthogonal(normal: Float[Array, "H H"]) -> Float[Array, "H H"]:
    """Makes a random rotation of normal numbers, as `jax.random.orthogonal` does."""
    # One matrix at a time: two batched QRs of one program may wait for each other's
    # threads for ever on a CPU with few cores (jaxlib 0.10).
    q, r = jnp.linalg.qr(normal)
    return q * jnp.sign(jnp.diagonal(r))[None]
