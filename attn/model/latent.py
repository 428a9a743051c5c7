"""Multi-head latent attention: all heads' keys and values from one small vector.

DeepSeek-AI 2024 (DeepSeek-V2), section 2.1, equations 9 to 19.
"""

from typing import Any, cast

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.attention.decode import Cache as HeadCache
from attn.attention.decode import attend_prompt, begin, fill, step
from attn.kernels import TokenInfo
from attn.model.attention import Attention, Cache, of_row
from attn.model.memory import Memory
from attn.model.products import product
from attn.model.weights import weight
from attn.parallel.fsdp import gather
from attn.parallel.rules import layout


class LatentAttention(Attention):
    """Multi-head latent attention from a latent c = norm(x W_c) of R numbers.

        k = [c W_uk, rotary(x W_kr)],   v = c W_uv

    DeepSeek-V2 (2024), equations 9 to 11 and 14 to 17; norm of section 3.1.2. Rotary
    positions rotate a part of `rope_dim` channels beside the H, whose key all heads
    share, since a rotation between W_uk and the query would bar `absorbed`. Decoding
    keeps R + `rope_dim` numbers a token, whatever N. Queries come straight from x:
    their own low rank (equations 12 and 13) saves no cache.
    """

    def make_heads(self, D: int, rngs: nnx.Rngs) -> None:
        spec = cast(config.LatentAttention, self.spec)
        (N, _, H), R, U = spec.sizes, spec.kv_rank or 0, spec.rope_width
        self.rope_width = U
        self.q = weight(rngs, "D N H", D, N, H + U, fan_in=D)
        self.down = weight(rngs, "D R", D, R, fan_in=D)
        self.latent_norm = nnx.RMSNorm(R, epsilon=self.eps, rngs=rngs)
        self.up_k = weight(rngs, "R N H", R, N, H, fan_in=R)
        self.up_v = weight(rngs, "R N H", R, N, H, fan_in=R)
        self.rope_k = weight(rngs, "D U", D, U, fan_in=D) if U else nnx.data(None)

    def queries(self, x: Float[Array, "B T D"], info: TokenInfo) -> tuple[Array, Array]:
        """The queries of the latent [B, T, N, H] and of the rotary key [B, T, N, U]."""
        q = product(x, self.q[...].astype(x.dtype), "B T N H")
        H = q.shape[-1] - self.rope_width
        rotated = self.rotated(q[..., H:], info) if self.rope_width else q[..., H:]
        return q[..., :H], rotated

    def cached(self, x: Float[Array, "B T D"], info: TokenInfo) -> tuple[Array, Array]:
        """The decoding cache: the latent [B, T, R], and the rotary key [B, T, U]."""
        c = product(x, self.down[...].astype(x.dtype), "B T R")
        c = self.latent_norm(c).astype(x.dtype)
        if self.rope_k is None:
            return c, c[..., :0]
        k = product(x, self.rope_k[...].astype(x.dtype), "B T U")
        return c, self.rotated(k[:, :, None], info)[:, :, 0]

    def project(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
    ) -> tuple[Array, Array, Array]:
        """Projects to queries and keys [B, T, N, H + U], and values [B, T, N, H]."""
        (q, q_rotated), (c, k_rotated) = self.queries(x, info), self.cached(x, info)
        k, v = (
            product(c, up[...].astype(x.dtype), "B T N H")
            for up in (self.up_k, self.up_v)
        )
        shared = jnp.broadcast_to(
            k_rotated[:, :, None], q_rotated.shape, out_sharding=layout("B T N H")
        )
        q = jnp.concatenate([q, q_rotated], axis=-1)
        return q, jnp.concatenate([k, shared], axis=-1), v

    def begin(self, B: int, L: int, dtype: Any, memory: Memory | None = None) -> Cache:
        """Makes the cache: of the latent and the rotated key, if they are all it takes."""
        if "exact" not in self.kernel.can:
            return super().begin(B, L, dtype)
        R, N = self.down.shape[1], self.spec.sizes[0]
        widths = R + self.rope_width, R
        return begin(
            self.kernel,
            self.mask,
            B,
            L,
            heads=(N, 1),
            widths=widths,
            dtype=dtype,
            latent=True,
        )

    def decode(
        self, x: Float[Array, "B T D"], info: TokenInfo, cache: Cache
    ) -> tuple[Float[Array, "B T N H"], Cache]:
        """Attends from a prompt by ordinary heads, and from one token by absorbed ones."""
        if "exact" not in self.kernel.can:
            return super().decode(x, info, cache)
        cache = cast(HeadCache, cache)  # there is no memory to attend to
        c, k_rotated = self.cached(x, info)
        k = jnp.concatenate([c, k_rotated], axis=-1)[:, :, None]
        if x.shape[1] > 1:
            heads = self.project(x, info)
            out = attend_prompt(
                self.kernel,
                *heads,
                cache,
                mask=self.mask,
                info=info,
                bias=self.bias,
                weights=self.weights,
                scale=self.spec.scale,
                impl=self.spec.impl or "auto",
            )
            q = heads[0]
            return out, fill(self.kernel, q, k, None, cache, mask=self.mask, info=info)
        q, scale = self._absorbed_queries(x, info)
        mixed, cache = step(
            self.kernel,
            q,
            k,
            None,
            cache,
            mask=self.mask,
            positions=info.positions,
            active=of_row(info.mask),
            bias=self.bias,
            weights=self.weights,
            scale=scale,
        )
        return self._read_latent(mixed), cache

    def absorbed(
        self, x: Float[Array, "B T D"], info: TokenInfo
    ) -> Float[Array, "B T D"]:
        """Computes the layer's output from the `cached` arrays alone.

        (q_n . W_uk c) is (W_uk^T q_n) . c, so every head reads one key/value head: the
        latent and the rotated key, whose values are the latent. Section 2.1.2.

        Raises:
            UserError: the kernel does more with keys than softmax of their scores.
        """
        if "exact" not in self.kernel.can:
            raise self.kernel.unable("exact", "asked to absorb W_uk into its queries")
        c, k_rotated = self.cached(x, info)
        q, scale = self._absorbed_queries(x, info)
        k = jnp.concatenate([c, k_rotated], axis=-1)
        mixed = self.attend(q, k[:, :, None], c[:, :, None], info, scale=scale)
        return self.read_out(self._read_latent(mixed), x)

    def _absorbed_queries(
        self, x: Float[Array, "B T D"], info: TokenInfo
    ) -> tuple[Float[Array, "B T N R"], float]:
        """The queries of latent and rotated key in one, and the scale of their scores."""
        q, q_rotated = self.queries(x, info)
        scale = self.spec.scale or (q.shape[-1] + self.rope_width) ** -0.5
        up = gather(self.up_k[...]).astype(x.dtype)
        q = jnp.einsum("btnh,rnh->btnr", q, up)
        return jnp.concatenate([q, q_rotated], axis=-1), scale

    def _read_latent(self, mixed: Float[Array, "B T N R"]) -> Float[Array, "B T N H"]:
        """The values of mixed latents."""
        up = gather(self.up_v[...]).astype(mixed.dtype)
        return jnp.einsum("btnr,rnh->btnh", mixed, up)
