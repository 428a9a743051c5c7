"""The checks of a model: layers that do not fit it, and fields that none reads."""

from copy import copy
from typing import TYPE_CHECKING, Any

from attn.config.attention import Attention
from attn.config.latent import LatentAttention
from attn.config.layers import Layer
from attn.config.shorthand import check_names
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel, Softmax

if TYPE_CHECKING:
    from attn.config.model import ModelConfig

SIZES = (
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "kv_rank",
    "rope_base",
    "d_ff",
    "conv_width",
    "attention_dropout",
)
CHOICES = {
    "act": ("relu", "silu"),
    "bias": ("none", "all"),
    "gated": (False, True),
    "qk_norm": (False, True),
    "gate": (False, True),
}
"""Fields that only layers read, like `SIZES`, and two values of each."""


def check_layers(model: "ModelConfig") -> None:
    """Raises `UserError` for layers that are said twice, not at all, or do not exist."""
    _check_kinds(model)
    if model.block and model.pattern != ("attention", "mlp"):
        raise UserError(
            f"ModelConfig.block and pattern = {model.pattern} both say what the "
            "layers are; give one"
        )
    if not model.pattern:
        raise UserError("ModelConfig.pattern is empty; it needs a layer")
    check_names("pattern", model.pattern)
    check_names("encoder_pattern", model.encoder_pattern)
    _check_encoder(model)
    own = [one for one in model.unresolved if isinstance(one, Attention)]
    if model.kernel != Softmax() and all(one.kernel is not None for one in own):
        raise UserError(
            f"ModelConfig.kernel = {model.kernel} has no 'attention' layer to run it: "
            f"pattern = {model.pattern}"
        )


def _check_kinds(model: "ModelConfig") -> None:
    """Raises `UserError` for a class or a name where an instance of it is meant."""
    _check_kernel("ModelConfig.kernel", model.kernel)
    for field in ("pattern", "block", "encoder_pattern", "encoder_block"):
        each = getattr(model, field)
        if not isinstance(each, tuple):
            example = (
                "(Attention(), MLP())" if "block" in field else "('attention', 'mlp')"
            )
            raise UserError(
                f"ModelConfig.{field} is {_named(each)}; it must be a tuple, as in "
                f"{example}"
            )
    for field in ("block", "encoder_block"):
        for one in getattr(model, field):
            _check_layer(field, one)


def _check_layer(field: str, one: Any) -> None:
    if not isinstance(one, Layer):
        raise UserError(
            f"ModelConfig.{field} holds {_named(one)}; it must hold instances, such as "
            f"{_instance_of(one, Layer, Attention)}, and names go into "
            f"{field.replace('block', 'pattern')}"
        )
    if isinstance(one, Attention) and one.kernel is not None:
        _check_kernel(f"{type(one).__name__}.kernel", one.kernel)


def _check_kernel(field: str, kernel: Any) -> None:
    if not isinstance(kernel, Kernel):
        meant = KERNELS.get(kernel) if isinstance(kernel, str) else kernel
        raise UserError(
            f"{field} is {_named(kernel)}; it must be an instance, such as "
            f"{_instance_of(meant, Kernel, Softmax)}"
        )


def _named(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


def _instance_of(meant: Any, kind: type, default: type) -> str:
    """The call that makes the instance that was meant, or one of the default class."""
    given = isinstance(meant, type) and issubclass(meant, kind)
    return f"{(meant if given else default).__name__}()"


def _check_encoder(model: "ModelConfig") -> None:
    """Raises `UserError` for an encoder that is not read, or is read and not there."""
    if model.encoder_block and model.encoder_pattern:
        raise UserError(
            "ModelConfig.encoder_block and encoder_pattern both say what the encoder's "
            "layers are; give one"
        )
    crosses = [isinstance(one, Attention) and one.crosses for one in model.unresolved]
    if any(crosses) and not model.has_encoder:
        raise UserError(
            "ModelConfig has cross_attention and no encoder for it to read; give "
            "encoder_pattern, as in encoder_pattern = ('attention', 'mlp')"
        )
    if model.has_encoder and not any(crosses):
        raise UserError(
            f"ModelConfig.encoder_pattern = {model.encoder_pattern} makes an encoder that "
            "no layer reads; put cross_attention into pattern"
        )
    if model.encoder_repeats and not model.has_encoder:
        raise UserError(
            f"ModelConfig.encoder_repeats = {model.encoder_repeats} repeats nothing; give "
            "encoder_pattern"
        )


def check_used(model: "ModelConfig") -> None:
    """Raises `UserError` for layers that do not fit, or a field that none uses."""
    model.encoder  # noqa: B018 - an encoder that cannot be made is told now
    own = model.attention_layers
    rotated = [x for x in own if x.rotary]
    all_latent = own and all(isinstance(x, LatentAttention) for x in own)
    if model.num_kv_heads is not None and all_latent:
        raise UserError(
            f"ModelConfig.kv_rank = {model.kv_rank} makes keys and values for every "
            f"head; leave out num_kv_heads = {model.num_kv_heads}"
        )
    if all_latent and (model.qk_norm or model.bias == "qkv"):
        raise UserError(
            f"ModelConfig.qk_norm = {model.qk_norm}, bias = {model.bias!r}: every "
            "attention layer makes its keys from a latent with a norm of its own, and "
            "reads neither; leave them out"
        )
    for name in ("rope_dim", "rope_scaling"):
        if getattr(model, name) is not None and not rotated:
            raise UserError(
                f"ModelConfig.{name} = {getattr(model, name)} rotates nothing: it needs "
                "positions = 'rotary', and a kernel that compares queries with keys"
            )


def require_read(model: "ModelConfig", name: str) -> None:
    """Raises `UserError` for a field that was chosen and that no layer reads."""
    value = getattr(model, name)
    known = name in SIZES or name in CHOICES
    if not known or value is None or _is_read(model, name):
        return
    layers = [one.name for one in model.one_block]
    raise UserError(
        f"ModelConfig.{name} = {value} is read by no layer of {layers}; leave it out"
    )


def _is_read(model: "ModelConfig", name: str) -> bool:
    """Whether another value of a field would make other layers."""
    other, value = copy(model), getattr(model, name)
    choices = CHOICES.get(name) or (value + 1,)
    unlike = next(choice for choice in choices if choice != value)
    object.__setattr__(other, name, unlike)
    every = [model] if model.encoder is None else [model, model.encoder]
    try:
        return any(
            tuple(one.resolve(other) for one in each.unresolved) != each.one_block
            for each in every
        )
    except UserError:  # a layer reads it, and cannot take that value
        return True
