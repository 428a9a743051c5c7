"""One kernel on every device of an Explicit mesh, without communication.

XLA cannot divide a kernel that it did not write, so the division is by `jax.shard_map`,
read off the types of the arrays.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from attn.errors import UserError
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.positions import RelativeBias


def over_mesh(
    local: Callable[..., Any],
    q: Array,
    k: Array,
    v: Array,
    scoring: Scoring,
    q_info: TokenInfo,
    kv_info: TokenInfo,
    lse: bool = False,
    manual: bool = False,
) -> Any:
    """Runs `local(q, k, v, scoring=, q_info=, kv_info=)` on each device's shard.

    Args:
        lse: whether it gives [B, T, N] beside its [B, T, N, Hv].
        manual: whether XLA may be left no axis of the mesh, also none of size 1, as
            with a kernel that it did not write.

    Raises:
        UserError: the mesh divides T, S or H, or the keys' heads unlike the queries'.
    """

    def run(q, k, v, scoring, q_info, kv_info):
        return local(q, k, v, scoring=scoring, q_info=q_info, kv_info=kv_info)

    spec = explicit_spec(q)
    if spec is None:
        return local(q, k, v, scoring=scoring, q_info=q_info, kv_info=kv_info)
    batch, heads = spec[0], spec[2]
    shared = k.shape[2] == 1 and explicit_spec(k) == P(batch, None, None, None)
    keys = P(batch, None, None if shared else heads, None)
    for name, x, wanted in (
        ("q", q, P(batch, None, heads, None)),
        ("k", k, keys),
        ("v", v, keys),
    ):
        if explicit_spec(x) != wanted:
            raise UserError(
                f"{name} {x.shape} is divided as {explicit_spec(x)}; a backend "
                f"takes {wanted}"
            )
    infos = q_info, kv_info
    of_infos = jax.tree.map(lambda x: P(batch, *[None] * (x.ndim - 1)), infos)
    specs = (scoring_spec(scoring, batch, heads), *of_infos)
    mesh = jax.typeof(q).sharding.mesh
    # An axis of size 1 that no array lies along would cost the sum of a gradient.
    divided = large_axes(mesh) | named(spec)
    others = jax.tree.map(reshard, (scoring, *infos), specs)
    if not divided:
        return run(q, k, v, *others)
    if manual:
        divided = set(mesh.axis_names)
    # Kernels' outputs do not record the mesh axes that they vary over, so that check
    # is off.
    return jax.shard_map(
        run,
        mesh=mesh,
        axis_names=divided,
        in_specs=(spec, keys, keys, *specs),
        out_specs=(spec, P(*spec[:3])) if lse else spec,
        check_vma=False,
    )(q, k, v, *others)


def large_axes(mesh: Any) -> set[str]:
    """The Explicit axes of a mesh that have several devices."""
    axes = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return {n for n, t in axes if t == AxisType.Explicit and mesh.shape[n] > 1}


def scoring_spec(scoring: Scoring, batch, heads, seq=None) -> Scoring:
    """The shardings of a `Scoring`: sinks by heads, a bias by them and its queries."""
    bias = scoring.bias
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda _: P(heads), bias)
    elif bias is not None:
        of_batch, of_heads = (
            None if size == 1 else axis
            for size, axis in zip(bias.shape[:2], (batch, heads), strict=True)
        )
        bias = P(of_batch, of_heads, seq, None)
    sinks = None if scoring.sinks is None else P(heads)
    return replace(scoring, bias=bias, sinks=sinks)


def explicit_spec(x: Array) -> P | None:
    """The sharding in the type of `x`, one entry a dimension; None without one."""
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return P(*sharding.spec, *[None] * (x.ndim - len(sharding.spec)))


def named(spec: P) -> set[str]:
    """The mesh axes that a sharding names."""
    parts = (part if isinstance(part, tuple) else (part,) for part in spec)
    return {axis for part in parts for axis in part if axis is not None}
