"""The machine of a benchmark, and the matmul rate that shares of peak refer to."""

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

from attn.bench.device import products, queues, torch_device
from attn.bench.measure import Call, Queued, calls_a_sample, seconds, settle
from attn.records.environment import cores, environment

SIZES = (1024, 2048)
"""Sides of the square products; the best rate counts."""
LARGE_SIZES = (4096, 8192)
"""Further sides on an accelerator, which smaller products do not fill."""
REPEATS = 5
EXTRA_PACKAGES = ("torch", "transformers", "attnax", "tokamax", "triton", "fla-core")


def matmul_gflops(dtype: str, sizes: Sequence[int] = ()) -> float:
    """The best rate of a square `dtype` matmul by any installed library, in GFLOP/s.

    Args:
        sizes: the sides; those of the kind of device unless given.
    """
    sizes = sizes or (SIZES + LARGE_SIZES if queues() else SIZES)
    rates = [_jax_gflops(dtype, size) for size in sizes]
    with contextlib.suppress(ImportError):
        rates += [_torch_gflops(dtype, size) for size in sizes]
    return max(rates)


def _best(call: Call, size: int) -> float:
    call()
    settle()
    calls = 1
    if isinstance(call, Queued):
        calls = calls_a_sample(seconds(call), queued=True)
    return 2e-9 * size**3 / min(seconds(call, calls) for _ in range(REPEATS))


def _jax_gflops(dtype: str, size: int) -> float:
    # Constant data would take less power, and a GPU then runs faster than it can.
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    compiled = product.lower(x, x).compile()
    if queues():
        return _best(Queued(lambda: compiled(x, x), jax.block_until_ready), size)
    return _best(lambda: jax.block_until_ready(compiled(x, x)), size)


def _torch_gflops(dtype: str, size: int) -> float:
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(cores() or 1)
    device = torch_device()
    if device is None:
        return 0.0
    x = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    if device == "cuda":
        wait = torch.cuda.synchronize
        return _best(Queued(lambda: x @ x, lambda _: wait()), size)
    return _best(lambda: x @ x, size)


def describe(dtypes: Iterable[str]) -> dict[str, Any]:
    """Describes machine and versions as JSON values, with matmul rates of `dtypes`."""
    extra: dict[str, str | None] = {}
    for name in EXTRA_PACKAGES:
        try:
            extra[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            extra[name] = None
    return {
        **environment({}),
        **extra,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "products": {dtype: products(dtype) for dtype in dtypes},
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "matmul_gflops": {dtype: matmul_gflops(dtype) for dtype in dtypes},
    }


def slug(machine: dict[str, Any]) -> str:
    """The machine as a file name: `intel-xeon-processor-2-cores`, `nvidia-h200`."""
    on_cpu = machine["platform"] == "cpu"
    kind = machine["cpu"] if on_cpu else machine["device_kind"]
    words = re.sub(r"\((r|tm)\)", " ", (kind or "unknown").lower())
    count = f"{machine['cores']} cores" if on_cpu else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {count}").strip("-")
