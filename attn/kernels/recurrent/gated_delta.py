"""The gated delta rule: a state that is corrected, not only added to, and can decay."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.kernels.base import matmul_flops
from attn.kernels.recurrent import base
from attn.kernels.recurrent.base import FadingState, Tokens
from attn.kernels.recurrent.triangular import solve_unit_lower

SHORTEST = 1e-6
"""The length below which a vector counts as 0."""


@dataclass(frozen=True)
class GatedDelta(FadingState):
    """The gated delta rule: a matrix state that is corrected and decays.

        S_t = a_t S_{t-1} (I - b_t k_t k_t^T) + b_t v_t k_t^T,   o_t = S_t q_t

    Yang, Kautz, Hatamizadeh 2024 (Gated Delta Networks), section 3.1, with their
    parallel form over chunks, section 3.3; the delta rule is Schlag et al. 2021,
    section 4.2, and its form over chunks Yang et al. 2024 (DeltaNet), section 3. k and
    q have length 1, so that writing to a key moves what it reads a share b_t of the way
    to v_t: a key that comes again is overwritten. With a_t, all is forgotten at a pace
    that the sequence sets. O(T (C (H + Hv + C) + H (H + Hv) + H^2 Hv / C)) time in
    chunks of C, O(T (C + H + Hv + H (H + Hv) / C)) memory; an H × Hv state to decode,
    held as the transpose of S.

    a_t = exp(-softplus(w . k_t + c)) and b_t = sigmoid(w' . k_t + c') are of the head's
    own key, before its length is taken; in the paper they are of the layer's input, of
    which our k is a linear map, and its a_t has a learned factor on the softplus. The
    paper's short convolutions and silu of q, k, v and its output gate are no part of a
    head's attention, and not here. Order is in the recurrence, so nothing is rotated.
    """

    name = "gated_delta"
    rotates = False

    @property
    def owns(self):
        return "weights"

    def init(self, key, *, head_dim, kv_len):
        """Draws a_t near exp(-r), r log-uniform between 1/1000 and 1/10; b_t is 1/2."""
        of_alpha, of_beta, of_pace = jax.random.split(key, 3)
        low, high = jnp.log(1e-3), jnp.log(1e-1)
        pace = jnp.exp(jax.random.uniform(of_pace, minval=low, maxval=high))
        return {
            "w_alpha": jax.random.normal(of_alpha, (head_dim,)) * head_dim**-0.5,
            "b_alpha": jnp.log(jnp.expm1(pace)),
            "w_beta": jax.random.normal(of_beta, (head_dim,)) * head_dim**-0.5,
            "b_beta": jnp.zeros(()),
        }

    def num_weights(self, H, S):
        return 2 * (H + 1)

    def flops(self, T, S, H, Hv, mask):
        C = min(base.CHUNK, T)
        inside = matmul_flops(T, C, 2 * H + Hv) + matmul_flops(T, C, H + Hv)
        between = matmul_flops(T, H, 3 * Hv + H) + matmul_flops(T / C, H, H, Hv)
        return inside + between + matmul_flops(T, C, C) / 3

    def tokens(self, q, k, v, weights, real):
        w = {name: leaf.astype(q.dtype) for name, leaf in weights.items()}
        log_keep = -jax.nn.softplus(k @ w["w_alpha"] + w["b_alpha"])
        beta = jax.nn.sigmoid(k @ w["w_beta"] + w["b_beta"])
        log_keep, beta = (jnp.where(real, x, 0.0) for x in (log_keep, beta))
        return Tokens(unit(q), unit(k), v, log_keep, beta)

    def write(self, x, state):
        return x.beta * (x.v - x.k @ state)

    def writes(self, x, fade, left):
        """Computes U and W of section 3.3: a token corrects what those before it wrote.

        u_t = b_t (v_t - k_t S_t-1 a_t) with S_t-1 a_t = left_t S + sum of fade_ts k_s
        u_s over s < t: a triangular system for all u of a chunk, linear in v and in S.
        """
        beta = x.beta[..., None]
        met = jnp.einsum("mch,mdh->mcd", x.k, x.k) * fade * beta
        earlier = jnp.tri(met.shape[1], k=-1, dtype=bool)[None]
        met = jnp.where(earlier, met, 0.0)
        asked = jnp.concatenate([x.v, left * x.k], axis=2) * beta
        both = solve_unit_lower(met, asked)
        return both[..., : x.v.shape[-1]], both[..., x.v.shape[-1] :]


def unit(x: Float[Array, "*T H"]) -> Float[Array, "*T H"]:
    """Normalises each vector; 0, with no gradient, where its length is 0."""
    square = jnp.square(x).sum(axis=-1, keepdims=True)
    some = square > SHORTEST**2
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, square, 1.0)), 0.0)
