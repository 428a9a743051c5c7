"""The transformer: embedding, a stack of residual layers, and a head."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attn import config
from attn.attention.choose import scope
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.attention import Attention
from attn.model.latent import LatentAttention
from attn.model.layers import MLP, Residual, ShortConv
from attn.model.weights import EMBEDDING, weight
from attn.objectives import ClassHead, Head, PairHead, TokenHead
from attn.parallel.rules import layout
from attn.positions import sinusoidal

MODULES: dict[type[config.Layer], Any] = {
    config.Attention: Attention,
    config.LatentAttention: LatentAttention,
    config.ShortConv: ShortConv,
    config.MLP: MLP,
}
"""The module of each kind of layer."""


class Transformer(nnx.Module):
    """A stack of residual layers over embedded tokens, and a head.

    It is a decoder where `model.causal`, else an encoder. On a mesh its weights are
    laid out by `attn.parallel.rules`.
    """

    def __init__(
        self, model: config.ModelConfig, head: Head = TokenHead(), *, rngs: nnx.Rngs
    ):
        for name in ("vocab_size", "max_len"):
            if getattr(model, name) is None:
                raise UserError(f"ModelConfig.{name} is not given; a model needs it")
        D, V, L = model.d_model, model.vocab_size or 0, model.max_len or 0
        self.model, self.head = model, head
        self.embedding = weight(rngs, "V D", V, D, fan_in=D, role=EMBEDDING)
        if model.positions == "learned":
            self.position_embedding = weight(
                rngs, "L D", L, D, fan_in=D, role=EMBEDDING
            )
        self.layers = nnx.List(
            Residual(MODULES[type(spec)](spec, model, rngs), model, rngs)
            for spec in model.layers
        )
        self.norm = nnx.RMSNorm(D, rngs=rngs)
        width = D
        if isinstance(head, PairHead):
            width = head.hidden(D)
            self.compare = weight(rngs, "D D", 4 * D, width, fan_in=4 * D)
        if isinstance(head, ClassHead):
            self.out = weight(
                rngs, "V D", head.num_classes, width, fan_in=width, role=EMBEDDING
            )

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        *,
        at: Int[Array, "B P"] | None = None,
        key: Array | None = None,
    ) -> Float[Array, "rows P V"]:
        """Computes float32 logits, at every position or as the head does.

        A `PairHead` takes sequences two by two, and says something of each pair.

        Args:
            info: padding, segments and positions of the tokens.
            at: the positions that are read out, of a `TokenHead`; all unless given.
            key: turns dropout on.
        """
        info = of_batch(info, tokens)
        x = self.hidden(tokens, info, key)
        table = self.embedding
        if isinstance(self.head, ClassHead):
            x, table = mean_state(x, info.mask), self.out
            if isinstance(self.head, PairHead):
                x = self._compared(x)
        elif at is not None:
            x = jax.vmap(lambda states, at: states[at])(x, at)
        table = table[...].astype(x.dtype)
        return jnp.einsum("bpd,vd->bpv", x, table, preferred_element_type=jnp.float32)

    def _compared(self, x: Float[Array, "M 1 D"]) -> Float[Array, "B 1 F"]:
        """The hidden units of a `PairHead`, from the states of both documents in turn."""
        shape = (len(x) // 2, 2, x.shape[-1])
        pairs = jnp.reshape(x, shape, out_sharding=layout("B M D"))
        u, v = pairs[:, :1], pairs[:, 1:]
        both = jnp.concatenate([u, v, u * v, u - v], axis=-1)
        weights = self.compare[...].astype(x.dtype)
        return jax.nn.relu(jnp.einsum("bpd,df->bpf", both, weights))

    def embed(
        self, tokens: Int[Array, "B T"], info: TokenInfo = TokenInfo()
    ) -> Float[Array, "B T D"]:
        """Embeds tokens at about unit variance, with their positions."""
        D = self.embedding.shape[-1]
        x = self.embedding[...].at[tokens].get(out_sharding=layout("B T D")) * D**0.5
        if self.model.positions == "learned":
            x = x + self._learned(tokens.shape[1], info) * D**0.5
        elif self.model.positions == "sinusoidal":
            at = jnp.arange(tokens.shape[1])[None]
            x = x + sinusoidal(at if info.positions is None else info.positions, D)
        return x.astype(self.model.dtype)

    def _learned(self, T: int, info: TokenInfo) -> Float[Array, "#B T D"]:
        """The learned vectors of the tokens' positions."""
        if info.positions is None and self.position_embedding.shape[0] < T:
            raise UserError(
                f"{T} tokens are more than ModelConfig.max_len = {self.model.max_len}, "
                "for which positions were learned; make the model with a larger max_len"
            )
        if info.positions is None:
            return self.position_embedding[None, :T]
        table = self.position_embedding[...]
        return table.at[info.positions].get(out_sharding=layout("B T D"))

    def hidden(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        key: Array | None = None,
    ) -> Float[Array, "B T D"]:
        """Computes the states after the last layer; `key` turns dropout on."""
        info = self._seen(info, tokens)
        x = self.embed(tokens, info)
        for i, layer in enumerate(self.layers):
            own = None if key is None else jax.random.fold_in(key, i)
            with scope(f"layers/{i}"):
                x, _ = layer(x, info, key=own)
        return self.norm(x).astype(self.model.dtype)

    def _seen(self, info: TokenInfo, tokens: Int[Array, "B T"]) -> TokenInfo:
        """The token info that layers are given."""
        info = of_batch(info, tokens)
        return replace(info, mask=None) if self.model.attend_padding else info

    def attention_inputs(
        self, tokens: Int[Array, "B T"], info: TokenInfo = TokenInfo()
    ) -> Iterator[tuple[str, Attention, Float[Array, "B T D"]]]:
        """Yields every attention layer by its index in the stack, and its input."""
        info = self._seen(info, tokens)
        x = self.embed(tokens, info)
        for i, block in enumerate(self.layers):
            if isinstance(block.layer, Attention):
                yield f"layer_{i}", block.layer, block.norm(x).astype(x.dtype)
            x, _ = block(x, info)

    def maps(
        self, tokens: Int[Array, "B T"], info: TokenInfo = TokenInfo()
    ) -> dict[str, Float[Array, "B N T T"]]:
        """Computes the effective map of each attention layer that has one, by index."""
        info = self._seen(info, tokens)
        return {
            name: layer.map(x, info)
            for name, layer, x in self.attention_inputs(tokens, info)
            if "map" in layer.kernel.can
        }

    def heads(self, tokens: Int[Array, "B T"]) -> dict[str, tuple[Array, Array, Array]]:
        """Computes q [B, T, N, H], k and v [B, T, K, H] of every attention layer."""
        inputs = self.attention_inputs(tokens)
        return {name: layer.project(x, TokenInfo()) for name, layer, x in inputs}


def of_batch(info: TokenInfo, tokens: Int[Array, "B T"]) -> TokenInfo:
    """Broadcasts `info` to every sequence, with lengths turned into a mask."""

    def whole(x: Array | None) -> Array | None:
        if x is None or x.shape == tokens.shape:
            return x
        return jnp.broadcast_to(x, tokens.shape, out_sharding=layout("B T"))

    return TokenInfo(
        whole(info.segment_ids), whole(info.positions), None, info.real(tokens.shape[1])
    )


def mean_state(
    x: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None
) -> Float[Array, "B 1 D"]:
    """The mean state of the real tokens, summed in float32."""
    real = None if mask is None else mask[..., None]
    return x.mean(axis=1, where=real, keepdims=True, dtype=jnp.float32).astype(x.dtype)
