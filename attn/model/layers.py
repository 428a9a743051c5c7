"""Short convolution, MLP, and the residual addition around every layer.

Each layer takes [B, T, D] and token info, and returns [B, T, D] and the cache that it
was given. Weights are float32; a layer computes in the dtype of its input.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.kernels import TokenInfo
from attn.model.attention import Attention, require_self_attention
from attn.model.weights import VECTOR, weight
from attn.parallel.rules import lay, layout


class ShortConv(nnx.Module):
    """A depthwise convolution and a linear map (`attn.config.ShortConv`)."""

    def __init__(
        self, spec: config.ShortConv, model: config.ModelConfig, rngs: nnx.Rngs
    ):
        D, W = model.d_model, spec.width or 1
        self.taps = weight(rngs, "W D", W, D, fan_in=W, role=VECTOR)
        self.out = weight(rngs, "D D", D, D, fan_in=D)
        self.ahead = 0 if model.causal else W // 2

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Any = None,
        cache: Any = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Mixes each token with its neighbours of the same segment."""
        require_self_attention(memory, cache)
        if info.mask is not None:
            x = jnp.where(info.mask[..., None], x, 0)
        taps = self.taps[...].astype(x.dtype)
        shifted = self.shifted(x)
        if info.segment_ids is not None:
            ids = self.shifted(info.segment_ids + 1)
            own = (near == info.segment_ids + 1 for near in ids)
            shifted = (jnp.where(o[..., None], y, 0) for o, y in zip(own, shifted))
        mixed = sum(y * taps[i, None, None] for i, y in enumerate(shifted))
        return jnp.einsum("btd,de->bte", mixed, self.out[...].astype(x.dtype)), cache

    def shifted(self, x: Array) -> list[Array]:
        """Shifts `x` [B, T, ...] by each tap; 0 beyond the ends."""
        W, T = self.taps.shape[0], x.shape[1]
        ends = [(0, 0), (W - 1 - self.ahead, self.ahead), *[(0, 0)] * (x.ndim - 2)]
        padded = jnp.pad(x, ends)
        return [padded[:, i : i + T] for i in range(W)]


class MLP(nnx.Module):
    """A two-layer MLP, gelu(x W) W' (`attn.config.MLP`)."""

    def __init__(self, spec: config.MLP, model: config.ModelConfig, rngs: nnx.Rngs):
        D, F = model.d_model, spec.d_ff or 0
        self.up = weight(rngs, "D F", D, F, fan_in=D)
        self.down = weight(rngs, "F D", F, D, fan_in=F)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Any = None,
        cache: Any = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Maps each token by itself."""
        require_self_attention(memory, cache)
        hidden = jax.nn.gelu(jnp.einsum("btd,df->btf", x, self.up[...].astype(x.dtype)))
        down = self.down[...].astype(x.dtype)
        out = jnp.einsum("btf,fd->btd", hidden, down, out_sharding=layout("B T D"))
        return out, cache


class Residual(nnx.Module):
    """A residual branch, x + dropout(layer(norm(x)))."""

    def __init__(self, layer: nnx.Module, model: config.ModelConfig, rngs: nnx.Rngs):
        self.norm = nnx.RMSNorm(model.d_model, rngs=rngs)
        self.layer = layer
        self.dropout = model.dropout
        self.attention_dropout = isinstance(layer, Attention) and bool(
            layer.spec.attention_dropout
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Any = None,
        cache: Any = None,
        *,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Adds the layer's update; `key` turns dropout on."""
        own = {}
        if key is not None and self.attention_dropout:
            own = {"key": jax.random.fold_in(key, 1)}
        x_normed = self.norm(x).astype(x.dtype)
        update, cache = self.layer(x_normed, info, memory, cache, **own)  # pyright: ignore
        if key is not None and self.dropout:
            keep = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
            update = jnp.where(lay(keep, "B T D"), update / (1 - self.dropout), 0)
        return x + update, cache
