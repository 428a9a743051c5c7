"""The device that a program is traced for, which this machine need not have."""

import re
from functools import cache
from pathlib import Path

import jax

NVIDIA = (
    (10.0, r"[GH]?B[123]00"),
    (12.0, r"Blackwell|RTX 50\d\d|GB10\b"),
    (9.0, r"G?H[128]00|H20\b"),
    (
        8.0,
        r"A100|A800|A[234]0\b|A1[06]\b|A2\b|L40?S?\b|L20|RTX [34]0\d\d|RTX A|Ada|Orin",
    ),
    (7.0, r"V100|T4|TITAN V|TITAN RTX|RTX 20\d\d|Quadro RTX|GTX 16"),
)
"""Compute capability, rounded down to its generation, by name, from NVIDIA's page of
CUDA GPUs."""


def device_kind() -> str:
    """The device kind of the current mesh, else of the default device.

    A mesh over a described topology (`jax.experimental.topologies`) carries the kind of
    its devices, so a program compiled for a TPU pod on a laptop gets the kernels of
    that pod. The mesh in force is part of the key of `jax.jit`'s cache, and so is this
    choice.

    Returns:
        jax's `device_kind`: "cpu", "NVIDIA H200", "TPU v5 lite".
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.devices()[0].device_kind if device is None else device.device_kind


def vendor(kind: str) -> str:
    """The vendor of a kind of device: "TPU", "NVIDIA", or the kind itself."""
    return next((name for name in ("TPU", "NVIDIA") if kind.startswith(name)), kind)


def generation(kind: str) -> float | None:
    """A TPU's version or an NVIDIA GPU's compute capability; None if unknown."""
    if vendor(kind) == "TPU":
        found = re.search(r"\d+", kind)
        return float(found[0]) if found else None
    if vendor(kind) == "NVIDIA":
        here = jax.devices()[0]
        if here.device_kind == kind and hasattr(here, "compute_capability"):
            return float(here.compute_capability)
        return next((cc for cc, names in NVIDIA if re.search(names, kind)), None)
    return None


@cache
def cpu_multiplies() -> frozenset[str]:
    """The 16-bit dtypes that this machine's CPU can multiply natively."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    # Linux's names of the features on x86 and on Arm.
    bfloat16 = {"avx512_bf16", "amx_bf16", "bf16"} & flags
    float16 = {"avx512_fp16", "amx_fp16", "asimdhp"} & flags
    return frozenset(["bfloat16"] * bool(bfloat16) + ["float16"] * bool(float16))
