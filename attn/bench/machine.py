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

from attn.bench.measure import seconds, settle
from attn.records.environment import cores, environment

SIZES = (1024, 2048)
"""Sides of the square products; the best rate counts."""
REPEATS = 5
EXTRA_PACKAGES = ("torch", "transformers", "attnax", "tokamax")


def matmul_gflops(dtype: str, sizes: Sequence[int] = SIZES) -> float:
    """The best rate of a square `dtype` matmul by any installed library, in GFLOP/s."""
    rates = [_jax_gflops(dtype, size) for size in sizes]
    with contextlib.suppress(ImportError):
        rates += [_torch_gflops(dtype, size) for size in sizes]
    return max(rates)


def _best(call, size: int) -> float:
    call()
    settle()
    return 2e-9 * size**3 / min(seconds(call) for _ in range(REPEATS))


def _jax_gflops(dtype: str, size: int) -> float:
    x = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    compiled = product.lower(x, x).compile()
    return _best(lambda: jax.block_until_ready(compiled(x, x)), size)


def _torch_gflops(dtype: str, size: int) -> float:
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(cores() or 1)
    x = torch.ones(size, size, dtype=getattr(torch, dtype))
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
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "matmul_gflops": {dtype: matmul_gflops(dtype) for dtype in dtypes},
    }


def slug(machine: dict[str, Any]) -> str:
    """The machine as a file name, such as `intel-xeon-processor-2-cores`."""
    kind = machine["cpu"] if machine["platform"] == "cpu" else machine["device_kind"]
    words = re.sub(r"\((r|tm)\)", " ", (kind or "unknown").lower())
    count = f"{machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {count}").strip("-")
