"""Strategies that bring whole sequences together: of keys, or of some heads."""

from dataclasses import replace
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard

from attn.attention import apply
from attn.attention.call import Call
from attn.attention.sequence.shards import (
    in_force,
    needs_positions,
    over_devices,
    own_positions,
)
from attn.kernels import Softmax
from attn.parallel.heads import ways
from attn.parallel.shard import explicit_spec, scoring_spec


def bare(call: Call) -> Call:
    """The call of an exact kernel as softmax under the whole mask, its pattern included.

    A pattern follows from the length of a sequence, which a shard does not have.
    """
    kernel = call.kernel
    if not isinstance(kernel, Softmax):
        return call
    plain = Softmax(softcap=kernel.softcap, sinks=kernel.sinks)
    return replace(call, kernel=plain, mask=in_force(call))


def all_gather(call: Call, axis: Any, impl: str, lse: bool) -> Any:
    """Attends from each device's queries to the keys and values of all devices."""

    def local(call: Call) -> Any:
        k, v = (lax.all_gather(x, axis, axis=1, tiled=True) for x in (call.k, call.v))
        info = call.q_info
        if info.positions is None and needs_positions(call):
            info = replace(info, positions=own_positions(call, axis))
        return apply.run(replace(call, k=k, v=v, q_info=info), impl, lse)

    return over_devices(local, bare(call), axis, whole="kv", lse=lse)


def all_to_all(call: Call, axis: Any, impl: str, lse: bool) -> Any:
    """Attends over whole sequences, of which each device has its part of the heads.

    The compiler makes one all-to-all of each change of layout.
    """
    batch, _, heads, _ = explicit_spec(call.q) or P(None, None, None, None)
    both = (*(heads if isinstance(heads, tuple) else (heads,) if heads else ()), axis)
    by_heads = P(batch, None, both, None)
    few = call.k.shape[2] % ways(call.q, both)
    keys = P(batch, None, None, None) if few else by_heads
    specs = replace(
        call,
        q=by_heads,
        k=keys,
        v=keys,
        weights=jax.tree.map(lambda _: P(both), call.weights),
        scoring=scoring_spec(call.scoring, batch, both),
        q_info=jax.tree.map(lambda _: P(batch, None), call.q_info),
        kv_info=jax.tree.map(lambda _: P(batch, None), call.kv_info),
    )
    found = apply.run(jax.tree.map(reshard, call, specs), impl, lse)
    back = P(batch, axis, heads, None)
    return jax.tree.map(lambda x: reshard(x, P(*back[: x.ndim])), found)
