"""Embed, a stack of residual layers, read out: encoder or decoder, by its mask."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec, reshard
from jaxtyping import Array, Bool, Float, Int

from attn.config import Experiment, ModelConfig
from attn.masks import Mask
from attn.model.latent import LatentAttention
from attn.model.layers import MLP, Attention, ShortConv, weight
from attn.parallel import mesh
from attn.positions import sinusoidal


class Residual(nnx.Module):
    """x + dropout(layer(norm(x)))."""

    def __init__(self, layer: nnx.Module, config: ModelConfig, rngs: nnx.Rngs):
        self.norm = nnx.RMSNorm(config.d_model, rngs=rngs)
        self.layer = layer
        self.dropout = config.dropout

    def __call__(
        self, x: Float[Array, "B T D"], kv_mask, key: Array | None
    ) -> Float[Array, "B T D"]:
        update = self.layer(self.norm(x).astype(x.dtype), kv_mask)
        if key is not None and self.dropout:
            keep = jax.random.bernoulli(key, 1 - self.dropout, x.shape)
            keep = reshard(keep, mesh.BTD)
            update = jnp.where(keep, update / (1 - self.dropout), 0)
        return x + update


class Transformer(nnx.Module):
    """The model of an experiment. A decoder is an encoder under `Causal()`.

    Output weights are the embedding where the model speaks tokens (Press and Wolf
    2017), and weights of their own where it names classes.
    """

    def __init__(self, experiment: Experiment, rngs: nnx.Rngs):
        config, task = experiment.model, experiment.task
        D = config.d_model
        self.readout = task.readout
        self.dtype = jnp.dtype(config.dtype)
        self.positions = config.positions
        spec = PartitionSpec(None, None)
        self.embedding = weight(rngs, spec, task.vocab_size, D, fan_in=D)
        if config.positions == "learned":
            self.places = weight(rngs, spec, task.seq_len, D, fan_in=D)
        self.layers = nnx.List(
            Residual(
                _make(name, config, experiment.mask, task.seq_len, rngs), config, rngs
            )
            for name in config.layers
        )
        self.norm = nnx.RMSNorm(D, rngs=rngs)
        self.tied = task.kind == "decoder"
        if not self.tied:
            self.out = weight(rngs, spec, task.num_classes, D, fan_in=D)

    def embed(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Tokens as vectors of about unit variance, with their places."""
        D = self.embedding.shape[-1]
        x = self.embedding[...].at[tokens].get(out_sharding=mesh.BTD) * D**0.5
        if self.positions == "learned":
            x = x + self.places[None, : tokens.shape[1]] * D**0.5
        elif self.positions == "sinusoidal":
            x = x + sinusoidal(jnp.arange(tokens.shape[1]), D)[None]
        return x.astype(self.dtype)

    def hidden(
        self,
        tokens: Int[Array, "B T"],
        kv_mask: Bool[Array, "B T"] | None = None,
        key: Array | None = None,
    ) -> Float[Array, "B T D"]:
        """States after the last layer. `key` turns dropout on."""
        x = self.embed(tokens)
        for i, layer in enumerate(self.layers):
            x = layer(x, kv_mask, None if key is None else jax.random.fold_in(key, i))
        return self.norm(x).astype(self.dtype)

    def attention_inputs(
        self, tokens: Int[Array, "B T"], kv_mask: Bool[Array, "B T"] | None = None
    ) -> Iterator[tuple[str, Attention, Float[Array, "B T D"]]]:
        """Every attention layer by its place in the stack, and what it is given."""
        x = self.embed(tokens)
        for i, block in enumerate(self.layers):
            if isinstance(block.layer, Attention):
                yield f"layer_{i}", block.layer, block.norm(x).astype(x.dtype)
            x = block(x, kv_mask, None)

    def maps(
        self, tokens: Int[Array, "B T"], kv_mask: Bool[Array, "B T"] | None = None
    ) -> dict[str, Float[Array, "B N T T"]]:
        """The effective map of every attention layer that has one, by its place."""
        return {
            name: layer.map(x, kv_mask)
            for name, layer, x in self.attention_inputs(tokens, kv_mask)
            if "map" in layer.kernel.can
        }

    def heads(self, tokens: Int[Array, "B T"]) -> dict[str, tuple[Array, Array, Array]]:
        """Queries [B, T, N, H], keys and values [B, T, K, H] of every attention layer."""
        inputs = self.attention_inputs(tokens)
        return {name: layer.project(x) for name, layer, x in inputs}

    def __call__(
        self, batch: dict[str, Array], key: Array | None = None
    ) -> Float[Array, "B P V"]:
        """float32 logits at the scored positions of a batch (see `attn.tasks.base`)."""
        tokens = batch["tokens"]
        kv_mask = None
        if "lengths" in batch:
            kv_mask = jnp.arange(tokens.shape[1])[None, :] < batch["lengths"][:, None]
        x = self.hidden(tokens, kv_mask, key)
        if self.readout == "positions":
            x = jax.vmap(lambda states, at: states[at])(x, batch["positions"])
        elif self.readout == "mean":
            x = _mean(x, kv_mask)
        table = (self.embedding if self.tied else self.out)[...].astype(x.dtype)
        return jnp.einsum("bpd,vd->bpv", x, table, preferred_element_type=jnp.float32)


def _mean(
    x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
) -> Float[Array, "B 1 D"]:
    """The mean state of the real tokens, summed in float32."""
    real = None if kv_mask is None else kv_mask[..., None]
    return x.mean(axis=1, where=real, keepdims=True, dtype=jnp.float32).astype(x.dtype)


def _make(
    name: str, config: ModelConfig, mask: Mask, seq_len: int, rngs: nnx.Rngs
) -> nnx.Module:
    kernel = config.kernel_of(name)
    if kernel is not None:
        kind = Attention if config.kv_rank is None else LatentAttention
        return kind(config, kernel, mask, seq_len, rngs)
    if name == "short_conv":
        causal = not bool(mask.predicate(0, 1))
        return ShortConv(config, causal, rngs)
    return MLP(config, rngs)
