"""Attention through feature maps: phi(q) (phi(k)^T v), normalised.

Katharopoulos et al. 2020, equations 4-6. Written once; a mechanism is its feature map.
The causal form walks chunks: what came before a chunk arrives as one R × Hv state,
what lies in it is scored directly, so no T × T map and no scan over tokens exist.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, Weights, matmul_flops
from attn.kernels.dense import clean
from attn.masks import FULL, Mask

CHUNK = 64


@dataclass(frozen=True)
class FeatureAttention(Kernel):
    """Base of the linear mechanisms; a subclass gives `features` and `rank`."""

    family = "lowrank"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "cross", "key_padding", "map", "normalised"}
    )

    def rank(self, H: int) -> int:
        """Features of a head of width H, R."""
        raise NotImplementedError

    def features(
        self, q: Float[Array, "T H"], k: Float[Array, "S H"], weights: Weights
    ) -> tuple[Float[Array, "T R"], Float[Array, "S R"]]:
        """phi(q) and phi(k), float32 and not negative."""
        raise NotImplementedError

    def flops(self, T, S, H, Hv, mask):
        R = self.rank(H)
        if mask == FULL:
            return matmul_flops(S, R, Hv + 1) + matmul_flops(T, R, Hv + 1)
        C = min(CHUNK, T)
        return 2 * matmul_flops(T, R, Hv + 1) + matmul_flops(T, C, R + Hv + 1)

    def state_size(self, S, H, Hv):
        return self.rank(H) * (Hv + 1)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights | None = None,
        kv_ids: Int[Array, "S"] | None = None,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`; a row that sees nothing is 0."""
        k, v = clean(k, kv_ids), clean(v, kv_ids)
        phi_q, phi_k = self.features(q, k, weights or {})
        if kv_ids is not None:
            phi_k = jnp.where(kv_ids[:, None] < 0, 0.0, phi_k)
        # A column of ones carries the normaliser through the same products.
        ones = jnp.ones_like(v[:, :1], jnp.float32)
        values = jnp.concatenate([v.astype(jnp.float32), ones], axis=1)
        if mask == FULL:
            sums = phi_q @ (phi_k.T @ values)
        else:
            sums = causal_product(phi_q, phi_k, values)
        # Divided first by the total as a constant: the quotient is the same, and its
        # gradient has no 1 / total^2 to overflow where a query's features are small.
        sums = sums / lax.stop_gradient(jnp.where(sums[:, -1:] == 0, 1.0, sums[:, -1:]))
        total = sums[:, -1:]
        out = sums[:, :-1] / jnp.where(total == 0, 1.0, total)
        return out.astype(v.dtype)


def causal_product(
    phi_q: Float[Array, "T R"], phi_k: Float[Array, "S R"], values: Float[Array, "S U"]
) -> Float[Array, "T U"]:
    """Row t is the sum over s <= t of (phi_q[t] . phi_k[s]) values[s]."""
    T = phi_q.shape[0]
    C = min(CHUNK, T)
    M = -(-T // C)

    def chunks(x):
        # Keys behind the last query are seen by nobody; those that lack are zeros.
        x = x[:T]
        return jnp.pad(x, ((0, M * C - x.shape[0]), (0, 0))).reshape(M, C, x.shape[1])

    phi_q, phi_k, values = chunks(phi_q), chunks(phi_k), chunks(values)
    states = jnp.einsum("mcr,mcu->mru", phi_k, values)
    before = jnp.cumsum(states, axis=0) - states
    scores = jnp.einsum("mcr,mdr->mcd", phi_q, phi_k)
    scores = jnp.where(jnp.tri(C, dtype=bool)[None], scores, 0.0)
    sums = jnp.einsum("mcr,mru->mcu", phi_q, before)
    sums = sums + jnp.einsum("mcd,mdu->mcu", scores, values)
    return sums.reshape(-1, values.shape[-1])[:T]
