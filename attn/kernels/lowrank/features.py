"""Attention through feature maps: phi(q) (phi(k)^T v), normalised.

Katharopoulos et al. 2020, equations 4-6. Written once; a mechanism is its feature map,
and `linear_state` holds the forms of the product.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.kernels.base import Weights, matmul_flops
from attn.kernels.dense import clean
from attn.kernels.lowrank import linear_state
from attn.kernels.lowrank.linear_state import fold, normalise, with_ones
from attn.kernels.resumable import Resumable
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask

CHUNK = 64


@dataclass(frozen=True)
class FeatureAttention(Resumable):
    """The base of the linear mechanisms; a subclass gives `features` and `rank`."""

    family = "lowrank"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "cross", "key_padding", "map", "normalised"}
        | {"decoding"}
    )
    implementations = ("parallel", "recurrent", "chunked")
    forms: ClassVar[ModuleType] = linear_state
    """The module with the three forms: `linear_state`, or `log_state` where `features`
    returns logarithms."""
    hidden: ClassVar[float] = 0.0
    """The feature of padded keys."""

    def rank(self, H: int) -> int:
        """The number of features of a head of width H, R."""
        raise NotImplementedError

    def features(
        self, q: Float[Array, "T H"], k: Float[Array, "S H"], weights: Weights
    ) -> tuple[Float[Array, "T R"], Float[Array, "S R"]]:
        """Computes phi(q) and phi(k), at least float32, with no negative products.

        They are logarithms where `forms` is `log_state`. Each row depends on its own
        token alone, so that a decoding step can compute it.
        """
        raise NotImplementedError

    def flops(self, T, S, H, Hv, mask):
        R = self.rank(H)
        if mask == FULL:
            return matmul_flops(S, R, Hv + 1) + matmul_flops(T, R, Hv + 1)
        C = min(CHUNK, T)
        return 2 * matmul_flops(T, R, Hv + 1) + matmul_flops(T, C, R + Hv + 1)

    def state_size(self, S, H, Hv, mask):
        return self.rank(H) * (Hv + 1)

    def begin(self, H, Hv):
        return jnp.zeros((self.rank(H), Hv + 1), jnp.float32)

    def step(self, state, q, k, v, *, weights=None):
        phi_q, phi_k = self.features(q[None], k[None], weights or {})
        state = fold(state, phi_k[0], with_ones(v[None])[0])
        return state, normalise(phi_q @ state)[0].astype(v.dtype)

    def absorb(self, q, k, v, real, *, weights=None):
        k, v = (jnp.where(real[:, None], x, 0) for x in (k, v))
        _, phi_k = self.features(q, k, weights or {})
        phi_k = jnp.where(real[:, None], phi_k, self.hidden)
        return self.forms.absorb(phi_k, with_ones(v))

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights | None = None,
        kv_info: TokenInfo = NO_INFO,
        form: Literal["parallel", "recurrent", "chunked"] = "parallel",
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`; a row that sees nothing is 0."""
        product = *self._factors(q, k, v, weights, kv_info), mask != FULL
        if form == "parallel":
            sums = self.forms.parallel(*product)
        elif form == "recurrent":
            sums = self.forms.recurrent(*product)
        else:
            sums = self.forms.chunked(*product, CHUNK)
        return normalise(sums).astype(v.dtype)

    def transfer(self, q, k, v, *, weights=None, kv_info=NO_INFO):
        return self.forms.absorb(*self._factors(q, k, v, weights, kv_info)[1:])

    def after(self, state, transfer):
        return self.forms.add(state, transfer)

    def resume(self, state, q, k, v, *, mask, weights=None, kv_info=NO_INFO):
        phi_q, phi_k, values = self._factors(q, k, v, weights, kv_info)
        if mask == FULL:
            sums = self.forms.unfold(state, phi_q)
        else:
            sums = self.forms.chunked(phi_q, phi_k, values, True, CHUNK, state)
        return normalise(sums).astype(v.dtype)

    def _factors(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        weights: Weights | None,
        kv_info: TokenInfo,
    ) -> tuple[Float[Array, "T R"], Float[Array, "S R"], Float[Array, "S U"]]:
        """The features of queries and of keys, hidden at padding, and the values."""
        kv_ids = kv_info.ids(len(k))
        k, v = clean(k, kv_ids), clean(v, kv_ids)
        phi_q, phi_k = self.features(q, k, weights or {})
        if kv_ids is not None:
            phi_k = jnp.where(kv_ids[:, None] < 0, self.hidden, phi_k)
        return phi_q, phi_k, with_ones(v)
