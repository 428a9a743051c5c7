"""Multi-head latent attention: keys and values of all heads from one narrow vector.

DeepSeek-AI 2024 (DeepSeek-V2), section 2.1, equations 9 to 19. It is a way to make
heads, not a mechanism: any kernel that compares queries with keys can run on them.
"""

import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from attn.config import ModelConfig
from attn.model.layers import Attention, weight
from attn.parallel import mesh
from attn.positions import rotary


class LatentAttention(Attention):
    """k = [c W_uk, rotary(x W_kr)] and v = c W_uv, where c = norm(x W_c) has R numbers.

    Equations 9 to 11 and 14 to 17; the norm is of section 3.1.2. Rotary positions turn
    a part of `rope_dim` channels beside the H, whose key all heads share, since a turn
    between W_uk and the query would bar `absorbed`. Decoding keeps R + `rope_dim`
    numbers a token, whatever N. Queries come straight from x: their own low rank
    (equations 12 and 13) saves no cache.
    """

    def make_heads(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        D, N, H = config.d_model, config.num_heads, config.head_width
        R, self.turned = config.kv_rank or 0, config.rope_width(self.kernel)
        whole = PartitionSpec(None, None)
        self.q = weight(rngs, mesh.DNH, D, N, H + self.turned, fan_in=D)
        self.down = weight(rngs, whole, D, R, fan_in=D)
        self.latent_norm = nnx.RMSNorm(R, rngs=rngs)
        self.up_k = weight(rngs, mesh.DNH, R, N, H, fan_in=R)
        self.up_v = weight(rngs, mesh.DNH, R, N, H, fan_in=R)
        self.turned_k = nnx.data(None)
        if self.turned:
            self.turned_k = weight(rngs, whole, D, self.turned, fan_in=D)

    def queries(self, x: Float[Array, "B T D"]) -> tuple[Array, Array]:
        """The part that meets the latent [B, T, N, H], and the turned [B, T, N, U]."""
        q = jnp.einsum("btd,dnh->btnh", x, self.q[...].astype(x.dtype))
        H = q.shape[-1] - self.turned
        return q[..., :H], rotary(q[..., H:]) if self.turned else q[..., H:]

    def cached(self, x: Float[Array, "B T D"]) -> tuple[Array, Array]:
        """All that decoding keeps: the latent [B, T, R], and the turned key [B, T, U]."""
        c = jnp.einsum("btd,dr->btr", x, self.down[...].astype(x.dtype))
        c = self.latent_norm(c).astype(x.dtype)
        if self.turned_k is None:
            return c, c[..., :0]
        k = jnp.einsum("btd,du->btu", x, self.turned_k[...].astype(x.dtype))
        return c, rotary(k[:, :, None])[:, :, 0]

    def project(self, x: Float[Array, "B T D"]) -> tuple[Array, Array, Array]:
        """Queries and keys [B, T, N, H + U], values [B, T, N, H]."""
        (q, q_turned), (c, k_turned) = self.queries(x), self.cached(x)
        k, v = (
            jnp.einsum("btr,rnh->btnh", c, up[...].astype(x.dtype))
            for up in (self.up_k, self.up_v)
        )
        shared = jnp.broadcast_to(
            k_turned[:, :, None], q_turned.shape, out_sharding=mesh.BTNH
        )
        q = jnp.concatenate([q, q_turned], axis=-1)
        return q, jnp.concatenate([k, shared], axis=-1), v

    def absorbed(
        self, x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B T D"]:
        """The layer's output again, from what `cached` gives alone.

        (q_n . W_uk c) is (W_uk^T q_n) . c, so every head reads one key/value head: the
        latent and the turned key, whose values are the latent. Section 2.1.2.

        Raises:
            UserError: the kernel does more with keys than softmax of their scores.
        """
        if "exact" not in self.kernel.can:
            raise self.kernel.unable("exact", "asked to absorb W_uk into its queries")
        (q, q_turned), (c, k_turned) = self.queries(x), self.cached(x)
        up_k, up_v = (up[...].astype(x.dtype) for up in (self.up_k, self.up_v))
        scale = (q.shape[-1] + self.turned) ** -0.5
        q = jnp.einsum("btnh,rnh->btnr", q, up_k)
        q = jnp.concatenate([q, q_turned], axis=-1)
        k = jnp.concatenate([c, k_turned], axis=-1)
        mixed = self.attend(q, k[:, :, None], c[:, :, None], kv_mask, scale)
        return self.read_out(jnp.einsum("btnr,rnh->btnh", mixed, up_v))
