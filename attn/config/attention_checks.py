"""The checks of an attention layer against its mechanism and what it attends to."""

from typing import TYPE_CHECKING

from attn.errors import UserError, unknown
from attn.kernels.base import Kernel
from attn.masks import FULL, Mask

if TYPE_CHECKING:
    from attn.config.attention import Attention


def check_memory(layer: "Attention") -> None:
    """Raises `UserError` for what attention to the encoder's states has not."""
    for name in ("positions", "rope_base", "rope_dim", "rope_scaling", "window"):
        if getattr(layer, name) not in (None, "none"):
            raise UserError(
                f"Attention.{name} = {getattr(layer, name)} with source = 'memory'; the "
                "encoder's states have no position here: leave it out"
            )


def check_heads(layer: "Attention") -> None:
    """Raises `UserError` where heads, or what is asked of the mechanism, do not fit."""
    (N, K, _), kernel = layer.sizes, layer.mechanism
    if N % K:
        raise UserError(f"num_kv_heads = {K} does not divide num_heads = {N}")
    ways = ("auto", *kernel.implementations, *kernel.backends)
    if layer.impl not in ways:
        raise unknown(f"attention_impl of {kernel.name!r}", str(layer.impl), ways)
    biased = layer.positions in ("alibi", "t5")
    if biased and "relative_bias" not in kernel.can:
        raise kernel.unable("relative_bias", f"asked for {layer.positions!r} positions")
    if layer.attention_dropout:
        _check_dropout(layer)
    if layer.scale is not None and "scale" not in kernel.can:
        raise kernel.unable("scale", f"asked for a scale of {layer.scale}")


def check_mask(kernel: Kernel, mask: Mask) -> None:
    """Raises `UserError` where a mechanism that looks back alone is to look both ways."""
    if mask == FULL and kernel.can.isdisjoint({"bidirectional", "any_mask"}):
        raise UserError(
            f"kernel {kernel.name!r} looks back alone, and the model is an encoder; "
            "ModelConfig.causal = True (--model.causal) makes its tokens look back"
        )


def check_cross(kernel: Kernel, mask: Mask, T: int, S: int) -> None:
    """Raises `UserError` for a mechanism that cannot attend to an encoder's S states.

    Args:
        mask: that of the T tokens among themselves.
    """
    if kernel.pattern(FULL, T, S) != FULL:
        raise UserError(
            f"kernel {kernel.name!r} sees keys by their positions, and a source's have "
            "none beside a target's; choose another for cross_attention"
        )
    if kernel.mixes_queries and mask != FULL:
        raise UserError(
            f"kernel {kernel.name!r} mixes queries, and a decoder's later tokens are among "
            "them; choose another for cross_attention"
        )


def _check_dropout(layer: "Attention") -> None:
    """Raises `UserError` where keys cannot be hidden by a bias of the scores."""
    share, kernel = layer.attention_dropout, layer.mechanism
    if "bias" not in kernel.can:
        raise kernel.unable("bias", f"asked for attention_dropout = {share}")
    taken = {
        f"positions = {layer.positions!r}": layer.positions in ("alibi", "t5"),
        "a soft-cap": getattr(kernel, "softcap", None) is not None,
    }
    for what in (what for what, is_so in taken.items() if is_so):
        raise UserError(
            f"attention_dropout = {share} hides keys by a bias of the scores, which "
            f"{what} does not leave free; leave out one of them"
        )
