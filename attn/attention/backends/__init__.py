"""The fused attention kernels, the libraries' and our own, by name."""

from attn.attention.backends.base import Backend, CallShape
from attn.attention.backends.cudnn import Cudnn
from attn.attention.backends.pallas import Pallas
from attn.attention.backends.splash import Splash
from attn.attention.backends.tokamax import Tokamax
from attn.attention.backends.triton import Triton
from attn.device import device_kind

__all__ = [
    "BACKENDS",
    "Backend",
    "CallShape",
    "Cudnn",
    "Pallas",
    "Splash",
    "Tokamax",
    "Triton",
    "device_kind",
]

BACKENDS: dict[str, Backend] = {
    kernel.name: kernel for kernel in (Cudnn(), Tokamax(), Triton(), Splash(), Pallas())
}
