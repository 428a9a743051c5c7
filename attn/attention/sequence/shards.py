"""A call cut into the shards of devices, and a function of it on each of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array

from attn.attention.call import Call
from attn.kernels import TokenInfo
from attn.masks import FULL, Mask, PerHead
from attn.parallel.heads import ways
from attn.parallel.shard import explicit_spec, scoring_spec
from attn.positions import RelativeBias


def sequence_axis(call: Call) -> Any:
    """The mesh axis that divides the call's sequences into several parts; None if none."""
    for x in (call.q, call.k):
        spec = explicit_spec(x)
        if spec is not None and spec[1] is not None and ways(x, spec[1]) > 1:
            return spec[1]
    return None


def without_lengths(call: Call) -> Call:
    """The call with lengths turned into masks, which can be divided along the sequence."""

    def masked(info: TokenInfo, L: int) -> TokenInfo:
        return replace(info, lengths=None, mask=info.real(L))

    T, S = call.q.shape[1], call.k.shape[1]
    return replace(call, q_info=masked(call.q_info, T), kv_info=masked(call.kv_info, S))


def over_devices(
    local: Callable[[Call], Any], call: Call, axis: Any, *, whole: str = "", lse: bool
) -> Any:
    """Runs `local` on each device's shard of a call, and joins what it gives.

    Args:
        axis: the mesh axis of the sequence.
        whole: the token info that every device gets whole, of `q` and `kv`.
        lse: whether `local` gives [B, T, N] beside [B, T, N, Hv].
    """
    specs = _specs(call, axis, whole)
    mesh = jax.typeof(call.q).sharding.mesh
    out = specs.q
    # Kernels' outputs do not record the mesh axes that they vary over, so that check
    # is off. jax 0.12 takes no gradient through a map that leaves an axis Explicit.
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        axis_names=set(mesh.axis_names),
        in_specs=(specs,),
        out_specs=(out, P(*out[:3])) if lse else out,
        check_vma=False,
    )
    return mapped(jax.tree.map(reshard, call, specs))


def _specs(call: Call, axis: Any, whole: str) -> Call:
    """The sharding of every array of a call."""
    batch, _, heads, _ = explicit_spec(call.q) or P(None, None, None, None)
    kv_heads = (explicit_spec(call.k) or P(None, None, None))[2]

    def of_info(info: TokenInfo, side: str) -> TokenInfo:
        own = None if side in whole.split() else axis
        return jax.tree.map(lambda _: P(batch, own), info)

    return replace(
        call,
        q=P(batch, axis, heads, None),
        k=P(batch, axis, kv_heads, None),
        v=P(batch, axis, kv_heads, None),
        weights=jax.tree.map(lambda _: P(heads), call.weights),
        scoring=scoring_spec(call.scoring, batch, heads, axis),
        q_info=of_info(call.q_info, "q"),
        kv_info=of_info(call.kv_info, "kv"),
    )


def needs_positions(call: Call) -> bool:
    """Whether what a query gets depends on its position, beside its keys."""
    return call.mask != FULL or isinstance(call.scoring.bias, RelativeBias)


def positions(first: Any, B: int, L: int) -> Array:
    """The positions [B, L] of L tokens in order, from the first."""
    return jnp.broadcast_to(first + jnp.arange(L)[None], (B, L))


def own_positions(call: Call, axis: Any) -> Array:
    """The positions of a device's queries in the whole sequence."""
    B, T = call.q.shape[:2]
    return positions(lax.axis_index(axis) * T, B, T)


def in_force(call: Call) -> Mask:
    """The mask of a call with the kernel's pattern; of each head where they differ."""
    T, S = call.q.shape[1], call.k.shape[1]
    if isinstance(call.mask, PerHead):
        return PerHead(tuple(call.kernel.pattern(m, T, S) for m in call.mask.masks))
    return call.pattern
