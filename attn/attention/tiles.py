"""The blockwise kernel over a mesh: each device runs the tiles of its own heads."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import AxisType
from jaxtyping import Array, Float

from attn.attention.call import Call
from attn.kernels.blockwise import (
    blockwise_attention,
    choose_reorderings,
    reordered_attention,
)
from attn.parallel.shard import over_mesh


def blockwise(
    call: Call,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Runs `blockwise_attention` of N heads; returns the output and the log-sum-exp.

    On an Explicit mesh each device computes its own heads, a few at a time. Where
    the compiler divides arrays by itself (Auto axes, or several devices and no mesh), a
    step takes all heads, since a loop over divided heads would gather them.
    Tokens are reordered where that is cheaper.
    """
    T, S, mask = call.q.shape[1], call.k.shape[1], call.pattern
    scoring, divided = call.whole_scoring, may_be_divided(call.q)
    local: Callable[..., Any] = partial(blockwise_attention, mask=mask, whole=divided)
    # A bias and positions are indexed by the tokens in their own order.
    if scoring.bias is None and not call.has_positions:
        orders = choose_reorderings(mask, T, S)
        if len(orders) > 1:
            local = partial(reordered_attention, reorderings=orders, whole=divided)
    arrays = call.q, call.k, call.v
    return over_mesh(local, *arrays, scoring, call.q_info, call.kv_info, lse=True)


def may_be_divided(x: Array) -> bool:
    """Whether the compiler may shard `x` over devices on its own (Auto axes)."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty:
        return jax.device_count() > 1
    return AxisType.Auto in mesh.axis_types and mesh.size > 1
