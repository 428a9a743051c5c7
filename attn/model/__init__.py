"""The Flax NNX transformer: modules declare, and training is plain JAX over trees."""

from attn.model.transformer import Transformer

__all__ = ["Transformer"]
