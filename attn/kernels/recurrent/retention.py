"""Retention: linear attention with a fixed rate of decay."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attn.kernels.base import matmul_flops
from attn.kernels.recurrent import base
from attn.kernels.recurrent.base import FadingState


@dataclass(frozen=True)
class Retention(FadingState):
    """Retention: linear attention with exponential decay.

        o_n = sum over m <= n of gamma^(n - m) (q_n . k_m / sqrt(H)) v_m

    Sun et al. 2023 (RetNet), section 2.1: equation 5 is `parallel`, 6 `recurrent` and 7
    `chunked`. gamma is a head's own and fixed: equation 8. O(T (C (H + Hv) + H Hv))
    time in chunks of C tokens, O(T (C + H + H Hv / C)) memory; an H × Hv state to
    decode.

    It decays by distance alone, whatever the sequence holds, and a padded key counts as
    a position: it adds nothing, and what came before it decays by one step more.

    The paper's xPos at a scalar gamma is a rotation of queries and keys, which the
    layer does (`positions="rotary"`). Its norm of each head's output is the layer's
    too, and makes the paper's scalings of the scores (section 2.2) cancel, so that of
    them 1 / sqrt(H) alone is here. The gate swish(x W) of equation 8 is no part of a
    head's attention, and not here.
    """

    name = "retention"
    steady = True

    @property
    def owns(self):
        return "features"

    def init(self, key, *, head_dim, kv_len):
        """The decay of the first head: see `init_heads`."""
        heads = self.init_heads(key, 1, head_dim=head_dim, kv_len=kv_len)
        return {name: leaf[0] for name, leaf in heads.items()}

    def init_heads(self, key, num_heads, *, head_dim, kv_len):
        """Sets gamma = 1 - 2^(-5 - n) for head n, as a logit: any number is a rate."""
        n = 5.0 + jnp.arange(num_heads)
        return {"decay": n * jnp.log(2.0) + jnp.log1p(-(2.0**-n))}

    def flops(self, T, S, H, Hv, mask):
        C = min(base.CHUNK, T)
        return matmul_flops(T, C, H + Hv) + 2 * matmul_flops(T, H, Hv)

    def tokens(self, q, k, v, weights, real):
        log_keep = jax.nn.log_sigmoid(weights["decay"].astype(q.dtype))
        log_keep = jnp.broadcast_to(log_keep, len(q))
        return base.Tokens(q * q.shape[1] ** -0.5, k, v, log_keep, real.astype(q.dtype))

    def write(self, x, state):
        return x.v

    def writes(self, x, fade, left) -> tuple[Array, None]:
        return x.v, None
