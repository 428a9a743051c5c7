"""The transformer as Flax NNX modules; training is plain JAX over trees."""

from attn.model.transformer import Transformer

__all__ = ["Transformer"]
