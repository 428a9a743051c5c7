"""Decoding on every device of a mesh: each has the caches of its rows and its heads.

No device reads what another one holds, so a step of self-attention adds no collective.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard

from attn.attention.key_cache import KeyCache
from attn.attention.state_cache import StateCache
from attn.errors import UserError
from attn.masks import Mask, PerHead
from attn.parallel.heads import spread
from attn.parallel.mesh import MeshShape
from attn.parallel.rules import axis_size, batch_parts, lay, on_mesh, spec

Cache = KeyCache | StateCache
"""What a layer keeps of earlier tokens."""
HEADS = "B T N H"
"""The dimensions of queries, keys and values."""


def check_rows(B: int) -> None:
    """Raises `UserError` for a mesh that divides the sequence, or not B rows."""
    if axis_size("seq") > 1:
        raise UserError(
            f"mesh seq = {axis_size('seq')}: decoding divides rows and heads, and not the "
            "sequence; take a mesh of data, fsdp and heads"
        )
    if B % batch_parts():
        raise UserError(
            f"the mesh divides rows into {batch_parts()} parts, and there are {B}; give a "
            "multiple"
        )


def check_mesh(mask: Mask, B: int, N: int, K: int) -> None:
    """Raises `UserError` for a mesh that does not divide rows and heads of a cache."""
    check_rows(B)
    MeshShape(heads=axis_size("heads")).check_heads(N, K)
    if isinstance(mask, PerHead) and axis_size("heads") > 1:
        raise UserError(
            f"mesh heads = {axis_size('heads')}: a mask for each head needs all heads on "
            "each device; divide the rows alone"
        )


def kept_heads(K: int) -> int:
    """The key/value heads that caches hold: one a device where there are fewer."""
    parts = axis_size("heads") if on_mesh() else 1
    return K if K % parts == 0 else parts


def lay_cache(cache: Cache) -> Any:
    """Shards a cache by rows and heads."""
    return jax.tree.map(reshard, cache, _specs(cache)) if on_mesh() else cache


def on_devices(
    local: Callable[..., Any],
    heads: tuple[Any, Any, Any],
    cache: Any,
    rows: Any,
    own: Any,
    *,
    reads: bool = True,
) -> Any:
    """Runs `local(heads, cache, rows, own)` on each device's part of all.

    Args:
        heads: queries, keys, and values or None.
        cache: None where there is none.
        rows: arrays [B, ...].
        own: arrays [N, ...].
        reads: whether `local` gives an output [B, T, N, Hv] before the cache.
    """
    if not on_mesh():
        return local(heads, cache, rows, own)
    q, k, v = heads
    q = lay(q, HEADS)
    k, copied = spread(q, k, k if v is None else v)
    given = ((q, k, None if v is None else copied), cache, rows, own)
    caches = _specs(cache)
    specs = (
        jax.tree.map(lambda x: spec(HEADS), given[0]),
        caches,
        jax.tree.map(lambda x: spec("B"), rows),
        jax.tree.map(lambda x: spec("N"), own),
    )
    # Kernels' outputs do not record the mesh axes that they vary over, so that check
    # is off.
    return jax.shard_map(
        local,
        in_specs=specs,
        out_specs=(spec(HEADS), caches) if reads else caches,
        check_vma=False,
    )(*jax.tree.map(reshard, given, specs))


def _specs(cache: Cache | None) -> Any:
    """The sharding of every array of a cache."""
    by_head: P = spec("B N")
    if cache is None:
        return None
    if isinstance(cache, StateCache):
        return jax.tree.map(lambda _: by_head, cache)
    v = None if cache.v is None else by_head
    return replace(cache, k=by_head, v=v, positions=spec("B"))
