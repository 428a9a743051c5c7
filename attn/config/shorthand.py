"""Layers by the names that a model's pattern may hold."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from attn.config.attention import Attention
from attn.config.latent import LatentAttention
from attn.config.layers import MLP, Layer, ShortConv
from attn.errors import UserError, unknown
from attn.kernels import KERNELS

if TYPE_CHECKING:
    from attn.config.model import ModelConfig

LAYERS: dict[str, type[Layer]] = {
    layer.name: layer for layer in (Attention, LatentAttention, ShortConv, MLP)
}
"""Every kind of layer by its name."""


def cross_attention() -> Attention:
    """Softmax attention from a decoder to the encoder's states."""
    return Attention(source="memory")


SHORTHAND: dict[str, Callable[[], Layer]] = {
    "attention": Attention,
    "cross_attention": cross_attention,
    "short_conv": ShortConv,
    "mlp": MLP,
}
"""Layers by the names that `ModelConfig.pattern` may hold beside those of kernels."""
OTHER_NAMES = {
    "mlp": ("ffn", "ff", "feedforward", "feed_forward", "dense", "swiglu"),
    "attention": ("attn", "mha", "self_attention", "multi_head"),
    "cross_attention": ("cross", "cross_attn", "encoder_attention"),
    "short_conv": ("conv", "convolution", "conv1d"),
}
"""What others call these layers; they are offered and not taken."""


def layers_of(model: "ModelConfig") -> tuple[Layer, ...]:
    """The layers of a model's block, before open fields are resolved."""
    if model.block:
        return model.block
    return tuple(_layer_called(name, model) for name in model.pattern)


def _layer_called(name: str, model: "ModelConfig") -> Layer:
    attention = Attention if model.kv_rank is None else LatentAttention
    if name in KERNELS:
        return attention(kernel=KERNELS[name]())
    return attention() if name == "attention" else SHORTHAND[name]()


def check_names(field: str, pattern: tuple[str, ...]) -> None:
    """Raises `UserError` for a name in a pattern that no layer has."""
    for name in pattern:
        if name not in SHORTHAND and name not in KERNELS:
            raise _unknown_layer(f"layer in ModelConfig.{field}", name)


def _unknown_layer(what: str, name: str) -> UserError:
    for ours, theirs in OTHER_NAMES.items():
        if name.lower().replace("-", "_") in theirs:
            return UserError(f"unknown {what} {name!r}; did you mean {ours!r}?")
    return unknown(what, name, [*SHORTHAND, *KERNELS])
