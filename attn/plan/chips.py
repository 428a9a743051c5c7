"""Devices that are not here, as data: memory, peak rates, links, and who publishes them.

Rates are upper bounds, as published and without sparsity. A device is what
jax counts as one: of a TPU7x chip each of its two halves. TPUs multiply float32 by passes
of bfloat16 at jax's default precision, and NVIDIA GPUs as TF32.

Every figure was read in a page of its chip's `source`, in November 2026, unless that says
otherwise. NVIDIA's own pages of its GPUs could not be read; OpenXLA's descriptions of them
give the rates of tensor cores as multiplications and additions a clock, and their memory as
it is read off such a device.
"""

from dataclasses import dataclass
from typing import Literal

from attn.plan.gpus import GPUS

Platform = Literal["tpu", "cuda", "cpu"]
TERA, GIGA, GIBI = 1e12, 1e9, 2.0**30
GOOGLE = "https://docs.cloud.google.com/tpu/docs/"
OPENXLA = (
    "https://github.com/openxla/xla/blob/main/xla/backends/gpu/target_config/specs/"
)
KLOCKWOOD = "https://glennklockwood.com/garden/processors/"
MLCOMMONS = (
    "https://raw.githubusercontent.com/mlcommons/inference_results_v4.1/main/closed/"
    "NVIDIA/systems/H200-SXM-141GBx8_TRT_MaxQ.json"
)
DGX_B200 = "https://docs.nvidia.com/dgx/dgxb200-user-guide/introduction-to-dgxb200.html"


@dataclass(frozen=True)
class Chip:
    """One kind of device; None is a figure that nobody publishes."""

    name: str
    platform: Platform
    memory: int | None
    """Bytes."""
    bfloat16: float | None
    """FLOP/s of bfloat16 products."""
    float32: float | None
    """FLOP/s of float32 products at jax's default precision."""
    bandwidth: float | None
    """Bytes a second from and to memory."""
    link: float | None
    """Bytes a second that a device sends to others of its slice or host, over all links:
    half of the bidirectional rate."""
    network: float | None
    """Bytes a second that a device sends to other hosts; None where links reach all."""
    source: str
    """The pages that the figures are from."""

    def flops(self, dtype: str) -> float | None:
        """The peak FLOP/s of products of a dtype."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32


Number = float | int


def _tpu(
    name: str, peak: Number, memory: Number, bandwidth: Number, link: Number
) -> Chip:
    """A TPU of `peak` TFLOP/s, bytes, bytes a second, and two-way GB/s between chips."""
    return Chip(
        name,
        "tpu",
        int(memory),
        peak * TERA,
        peak * TERA,
        bandwidth,
        link * GIGA / 2,
        None,
        f"{GOOGLE}{name}",
    )


def _gpu(
    name: str,
    peak: Number,
    tf32: Number,
    bandwidth: Number,
    link: Number,
    source: str,
) -> Chip:
    """A GPU of TFLOP/s, TB/s and two-way GB/s, with 400 Gb/s to other hosts."""
    return Chip(
        name,
        "cuda",
        GPUS[name].device_memory_size,
        peak * TERA,
        tf32 * TERA,
        bandwidth * TERA,
        link * GIGA / 2,
        400 * GIGA / 8,
        source,
    )


CHIPS = {
    chip.name: chip
    for chip in (
        _tpu("v5e", 197, 16 * GIGA, 800 * GIBI, 400),
        _tpu("v5p", 459, 95 * GIBI, 2575 * GIBI, 1200),
        _tpu("v6e", 918, 32 * GIGA, 1638 * GIGA, 800),
        _tpu("tpu7x", 2307 / 2, 192 * GIBI / 2, 7380 * GIGA / 2, 1200 / 2),
        _gpu(
            "h100",
            989.4,
            494.7,
            3.35,
            900,
            f"{OPENXLA}h100_sxm.txtpb and {KLOCKWOOD}h100 (links); to other hosts unread, "
            "as of H200",
        ),
        _gpu(
            "h200",
            989.4,
            494.7,
            4.8,
            900,
            f"{OPENXLA}h200.txtpb and {MLCOMMONS} (links, network)",
        ),
        _gpu(
            "b200",
            2250,
            1100,
            8,
            1800,
            f"{KLOCKWOOD}B200, {OPENXLA}b200.txtpb (memory) and {DGX_B200} (network)",
        ),
        Chip("cpu", "cpu", None, None, None, None, None, None, "this machine"),
    )
}
"""Every kind of device that can be planned for, by the name before the colon."""

SLICES = {
    "v5e": "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16",
    "v6e": "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16",
    "v5p": "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16 16x16x16",
    "tpu7x": "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16",
}
"""The shapes of slices of each TPU, from the pages of its figures."""
GPUS_A_HOST = 8
"""GPUs that NVLink joins, in the DGX of each kind."""
