"""The libraries' own attention kernels, by name."""

from attn.device import device_kind
from attn.fused.base import Ask, Fused
from attn.fused.cudnn import Cudnn
from attn.fused.splash import Splash
from attn.fused.tokamax import Tokamax

__all__ = ["FUSED", "Ask", "Cudnn", "Fused", "Splash", "Tokamax", "device_kind"]

FUSED: dict[str, Fused] = {
    kernel.name: kernel for kernel in (Cudnn(), Tokamax(), Splash())
}
