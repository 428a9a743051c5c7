"""Our own tiles over a mesh: `attn.kernels.blockwise` on each device's own heads."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jaxtyping import Array, Float, Int

from attn.kernels.blockwise import attend_in_parts, blockwise_attention, cover
from attn.masks import Mask
from attn.parallel.shard import over_mesh
from attn.positions import RelativeBias


def blockwise(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask,
    scale: float | None = None,
    softcap: float | None = None,
    bias: Float[Array, "#B #N T S"] | RelativeBias | None = None,
    sinks: Float[Array, "N"] | None = None,
    q_ids: Int[Array, "B T"] | None = None,
    kv_ids: Int[Array, "B S"] | None = None,
    q_positions: Int[Array, "B T"] | None = None,
    kv_positions: Int[Array, "B S"] | None = None,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """`blockwise_attention` of N heads: the output and the log-sum-exp.

    On an Explicit mesh each device walks through its own heads, a few at a time. Where
    the compiler divides arrays by itself (Auto axes, or several devices and no mesh), a
    step takes all heads, since a walk through divided heads would gather them.
    A mask is walked through in parts where that is cheaper.
    """
    divided = may_be_divided(q)
    # A bias lies as the tokens do, and places are of tokens in their own order.
    plain = bias is None and q_positions is None and kv_positions is None
    marks = {
        "q_ids": q_ids,
        "kv_ids": kv_ids,
        "q_positions": q_positions,
        "kv_positions": kv_positions,
    }

    def local(q, k, v, extras):
        (B, T, N, H), K = q.shape, k.shape[2]
        groups, sinks = (K, N // K), extras["sinks"]
        q = q.reshape(B, T, *groups, H)
        sinks = None if sinks is None else sinks.reshape(groups)
        parts = cover(mask, T, k.shape[1]) if plain else ()
        if len(parts) > 1:
            out, lse = attend_in_parts(
                q,
                k,
                v,
                parts=parts,
                scale=scale,
                softcap=softcap,
                sinks=sinks,
                q_ids=extras["q_ids"],
                kv_ids=extras["kv_ids"],
                whole=divided,
            )
        else:
            out, lse = blockwise_attention(
                q,
                k,
                v,
                mask=mask,
                scale=scale,
                softcap=softcap,
                bias=_grouped(extras["bias"], groups),
                sinks=sinks,
                whole=divided,
                **{name: extras[name] for name in marks},
            )
        return out.reshape(B, T, N, -1), lse.reshape(B, T, N)

    return over_mesh(local, q, k, v, {"bias": bias, "sinks": sinks, **marks}, lse=True)


def _grouped(bias: Any, groups: tuple[int, int]) -> Any:
    """The heads of a bias as key/value heads and groups."""
    if isinstance(bias, RelativeBias):
        return jax.tree.map(lambda x: jnp.reshape(x, (*groups, *x.shape[1:])), bias)
    if bias is None:
        return None
    heads = (1, 1) if bias.shape[1] == 1 else groups
    return bias.reshape(bias.shape[0], *heads, *bias.shape[2:])


def may_be_divided(x: Array) -> bool:
    """Whether the compiler may lay `x` over several devices without saying so."""
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty:
        return jax.device_count() > 1
    return AxisType.Auto in mesh.axis_types and mesh.size > 1
