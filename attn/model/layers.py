"""Short convolution, MLP, and the residual addition around every layer.

Each layer takes [B, T, D], token info, the encoder's states and a decoding cache, and
returns [B, T, D] and the cache. Weights are float32; a layer computes in the dtype of
its input.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.attention import Attention
from attn.model.memory import Memory
from attn.model.products import product
from attn.model.weights import VECTOR, bias, make_norm, weight
from attn.parallel.rules import lay


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
        memory: Memory | None = None,
        cache: Any = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Mixes each token with its neighbours of the same segment.

        Args:
            cache: from `begin`, the tokens before: [B, W - 1, D].
        """
        if info.mask is not None:
            x = jnp.where(info.mask[..., None], x, 0)
        taps, x = self.taps[...].astype(x.dtype), lay(x, "B L D")
        if cache is not None:
            x, cache = jnp.concatenate([cache, x], axis=1), self._kept(x, info, cache)
        shifted = self.shifted(x)
        if cache is not None:
            shifted = [y[:, cache.shape[1] :] for y in shifted]
        if info.segment_ids is not None:
            ids = lay(info.segment_ids + 1, "B L")
            own = (near == ids for near in self.shifted(ids))
            shifted = (jnp.where(o[..., None], y, 0) for o, y in zip(own, shifted))
        each = (y * taps[i, None, None] for i, y in enumerate(shifted))
        mixed = lay(jnp.asarray(sum(each)), "B T D")
        return product(mixed, self.out[...].astype(x.dtype), "B T D"), cache

    def begin(
        self, B: int, L: int, dtype: Any, memory: Memory | None = None
    ) -> Float[Array, "B W D"]:
        """Makes the cache before the first token: zeros, as beyond the ends."""
        W, D = self.taps.shape
        if self.ahead:
            raise UserError(
                "a short_conv of an encoder sees later tokens; it cannot decode"
            )
        return lay(jnp.zeros((B, W - 1, D), dtype), "B L D")

    def _kept(
        self, x: Float[Array, "B T D"], info: TokenInfo, cache: Float[Array, "B W D"]
    ) -> Float[Array, "B W D"]:
        """The last tokens of each row that are real, `cache` being those before."""
        W, T = cache.shape[1], x.shape[1]
        both = jnp.concatenate([cache, x.astype(cache.dtype)], axis=1)
        if info.mask is None:
            return both[:, T:]
        last = jnp.max(jnp.where(info.mask, jnp.arange(T)[None], -1), axis=1)
        at = last[:, None] + 1 + jnp.arange(W)[None]
        return jax.vmap(lambda row, i: row[i])(both, at)

    def shifted(self, x: Array) -> list[Array]:
        """Shifts `x` [B, T, ...] by each tap; 0 beyond the ends."""
        W, T = self.taps.shape[0], x.shape[1]
        ends = [(0, 0), (W - 1 - self.ahead, self.ahead), *[(0, 0)] * (x.ndim - 2)]
        padded = jnp.pad(x, ends)
        return [padded[:, i : i + T] for i in range(W)]


ACTS: dict[str, Callable[[Array], Array]] = {
    "gelu_tanh": jax.nn.gelu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
"""The activation functions."""


class MLP(nnx.Module):
    """A two-layer MLP, act(x W) W', gated or not (`attn.config.MLP`)."""

    def __init__(self, spec: config.MLP, model: config.ModelConfig, rngs: nnx.Rngs):
        D, F = model.d_model, spec.d_ff or 0
        self.act = ACTS[spec.act or "gelu_tanh"]
        self.up = weight(rngs, "D F", D, F, fan_in=D)
        self.down = weight(rngs, "F D", F, D, fan_in=F)
        self.gate = self.up_bias = self.gate_bias = self.down_bias = nnx.data(None)
        if spec.gated:
            self.gate = weight(rngs, "D F", D, F, fan_in=D)
        if spec.bias == "all":
            self.up_bias, self.down_bias = bias("F", F), bias("D", D)
            self.gate_bias = bias("F", F) if spec.gated else nnx.data(None)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
        cache: Any = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Maps each token by itself."""
        up = self._product(x, self.up, self.up_bias)
        if self.gate is None:
            hidden = self.act(up)
        else:
            hidden = self.act(self._product(x, self.gate, self.gate_bias)) * up
        down = self.down[...].astype(x.dtype)
        out = product(hidden, down, "B T D")
        return plus(out, self.down_bias), cache

    def _product(
        self, x: Float[Array, "B T D"], w: nnx.Param, b: nnx.Param | None
    ) -> Float[Array, "B T F"]:
        return plus(product(x, w[...].astype(x.dtype), "B T F"), b)


def plus(x: Array, b: nnx.Param | None) -> Array:
    """Adds a bias over the last axes, if there is one."""
    if b is None:
        return x
    value = b[...].astype(x.dtype)
    return x + jnp.expand_dims(value, range(x.ndim - value.ndim))


class Residual(nnx.Module):
    """A residual branch, x + dropout(layer(norm(x))), or with the norm elsewhere."""

    def __init__(self, layer: nnx.Module, model: config.ModelConfig, rngs: nnx.Rngs):
        make = partial(make_norm, model.norm, model.d_model, rngs)
        self.at = model.norm.at
        self.norm = make() if self.at != "post" else nnx.data(None)
        self.post_norm = make() if self.at != "pre" else nnx.data(None)
        self.layer = layer
        self.dropout = model.dropout
        self.attention_dropout = isinstance(layer, Attention) and bool(
            layer.spec.attention_dropout
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
        cache: Any = None,
        *,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Adds the layer's update; `key` turns dropout on."""
        own = {}
        if key is not None and self.attention_dropout:
            own = {"key": jax.random.fold_in(key, 1)}
        update, cache = self.layer(self.normed(x), info, memory, cache, **own)  # pyright: ignore
        if self.at == "both":
            update = self.post_norm(update).astype(x.dtype)  # pyright: ignore
        if key is not None and self.dropout:
            keep = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
            update = jnp.where(lay(keep, "B T D"), update / (1 - self.dropout), 0)
        x = x + update
        if self.at == "post":
            x = self.post_norm(x).astype(x.dtype)  # pyright: ignore
        return x, cache

    def normed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The input of the layer."""
        return x if self.norm is None else self.norm(x).astype(x.dtype)
