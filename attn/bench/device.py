"""The device of a benchmark: how products are made there, and the memory it has left."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import jax

EXACT = ("highest", "float32", "F32_F32_F32")
"""The settings of `jax_default_matmul_precision` under which no product is shortened."""


def products(dtype: str, backend: str | None = None, asked: str | None = None) -> str:
    """The type in which products of a dtype are made, by jax and, alike, by torch.

    Args:
        backend: cpu, gpu or tpu; that of this process unless given.
        asked: the precision that is set; jax's unless given.
    """
    if dtype != "float32":
        return dtype
    asked = asked or jax.config.jax_default_matmul_precision  # pyright: ignore
    if asked in EXACT:
        return dtype
    backend = backend or jax.default_backend()
    return {"gpu": "tf32", "tpu": "bfloat16"}.get(backend, dtype)


def queues() -> bool:
    """Whether the device runs a queue of calls while the host goes on."""
    return jax.default_backend() != "cpu"


def free_memory() -> float:
    """Bytes that this process may still allocate on its device; infinite where unknown."""
    if queues():
        return free_on_device(jax.local_devices()[0].memory_stats())
    return free_on_host()


def free_on_device(stats: Mapping[str, int] | None) -> float:
    """Bytes that jax may still allocate, from a device's statistics."""
    if not stats or "bytes_limit" not in stats:
        return math.inf
    return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def free_on_host(info: Path = Path("/proc/meminfo")) -> float:
    """Bytes of main memory that are available."""
    try:
        text = info.read_text(encoding="utf-8")
    except OSError:
        return math.inf
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
    return 1024.0 * int(found[1]) if found else math.inf


def torch_device() -> str | None:
    """The name of the device that torch shares with jax: cpu or cuda; None without one.

    Asks torch for the products that jax makes of float32, too.
    """
    import torch  # pyright: ignore[reportMissingImports]

    backend = jax.default_backend()
    if backend == "cpu":
        return backend
    if backend != "gpu" or not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = products("float32") == "tf32"
    return "cuda"
