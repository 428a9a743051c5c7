"""A stack of residual layers: the body of a decoder, and of an encoder."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.attention.choose import scope
from attn.kernels import TokenInfo
from attn.model.attention import Attention
from attn.model.latent import LatentAttention
from attn.model.layers import MLP, Residual, ShortConv
from attn.model.memory import Memory
from attn.model.weights import gathered, make_norm

MODULES: dict[type[config.Layer], Any] = {
    config.Attention: Attention,
    config.LatentAttention: LatentAttention,
    config.ShortConv: ShortConv,
    config.MLP: MLP,
}
"""The module of each kind of layer."""


class Stack(nnx.Module):
    """Residual layers in order, and the norm after the last one."""

    def __init__(self, model: config.ModelConfig, rngs: nnx.Rngs):
        self.model = model
        self.layers = nnx.List(
            Residual(MODULES[type(spec)](spec, model, rngs), model, rngs)
            for spec in model.layers
        )
        self.norm = nnx.data(None)
        if model.norm.at != "post":
            self.norm = make_norm(model.norm, model.d_model, rngs)

    def run(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
        key: Array | None = None,
    ) -> Float[Array, "B T D"]:
        """Computes the states after the last layer; `key` turns dropout on."""
        info = self.seen(info)
        for i, layer in enumerate(self.layers):
            own = None if key is None else jax.random.fold_in(key, i)
            with scope(f"{self.scope}/{i}"):
                x = self._through(layer, x, info, memory, own)
        return self.last(x)

    def _through(
        self,
        layer: Residual,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None,
        key: Array | None,
    ) -> Float[Array, "B T D"]:
        """Runs one layer, which the backward pass may compute again."""
        if not self.model.remat:
            return gathered(layer)(x, info, memory, key=key)[0]
        graph, weights = nnx.split(layer)

        def run(weights, x, info, memory, key):
            own = gathered(nnx.merge(graph, weights))
            return own(x, info, memory, key=key)[0]

        return jax.checkpoint(run)(weights, x, info, memory, key)

    def begin(self, B: int, L: int, memory: Memory | None = None) -> list[Any]:
        """Makes the decoding caches of all layers, for B sequences of at most L tokens.

        Raises:
            UserError: a mechanism does not decode, or a layer sees later tokens.
        """
        dtype = jnp.dtype(self.model.dtype)
        return [
            None
            if isinstance(block.layer, MLP)
            else block.layer.begin(B, L, dtype, memory)  # pyright: ignore
            for block in self.layers
        ]

    def advance(
        self, x: Float[Array, "B T D"], info: TokenInfo, caches: list[Any]
    ) -> tuple[Float[Array, "B T D"], list[Any]]:
        """Computes the states of a prompt, or of one more token a row, and caches them."""
        after = []
        for layer, cache in zip(self.layers, caches):
            x, cache = gathered(layer)(x, info, None, cache)
            after.append(cache)
        return self.last(x), after

    scope = "layers"
    """The name under which records keep what its layers chose."""

    def last(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Normalises the states after the last layer, where the norms are before."""
        return x if self.norm is None else self.norm(x).astype(self.model.dtype)

    def seen(self, info: TokenInfo) -> TokenInfo:
        """The token info that layers are given."""
        return replace(info, mask=None) if self.model.attend_padding else info

    def attention_inputs(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
    ) -> Iterator[tuple[int, Attention, Float[Array, "B T D"]]]:
        """Yields every attention layer by its index in the stack, and its input."""
        info = self.seen(info)
        for i, kept in enumerate(self.layers):
            block = gathered(kept)
            if isinstance(block.layer, Attention):
                yield i, block.layer, block.normed(x)
            x, _ = block(x, info, memory)


class Encoder(Stack):
    """The stack that makes the memory of a decoder."""

    scope = "encoder"
