"""One kernel on every device of an Explicit mesh: batch and heads, no communication.

XLA cannot divide a kernel that it did not write, so the division is by `jax.shard_map`,
read off the types of the arrays.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from attn.errors import UserError
from attn.positions import RelativeBias


def over_mesh(
    local: Callable[..., Any],
    q: Array,
    k: Array,
    v: Array,
    extras: dict[str, Any],
    lse: bool = False,
) -> Any:
    """`local(q, k, v, extras)`, on each device's own batch and heads.

    Args:
        lse: whether it gives [B, T, N] beside its [B, T, N, Hv].

    Raises:
        UserError: the mesh divides T, S or H, or the keys' heads unlike the queries'.
    """
    spec = explicit_spec(q)
    if spec is None:
        return local(q, k, v, extras)
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
                f"{name} {x.shape} is divided as {explicit_spec(x)}; a fused kernel "
                f"takes {wanted}"
            )
    specs = {
        name: None if x is None else extra_spec(name, x, batch, heads)
        for name, x in extras.items()
    }
    placed = {
        name: jax.tree.map(lambda leaf, own=specs[name]: reshard(leaf, own), x)
        for name, x in extras.items()
    }
    # The kernels' own outputs carry no record of what they vary over, so the check
    # that would read it is off.
    return jax.shard_map(
        local,
        mesh=jax.typeof(q).sharding.mesh,
        in_specs=(spec, keys, keys, specs),
        out_specs=(spec, P(*spec[:3])) if lse else spec,
        check_vma=False,
    )(q, k, v, placed)


def extra_spec(name: str, x: Any, batch, heads) -> P:
    """How a run-time argument of `Backend.__call__` is divided."""
    if name == "sinks":
        return P(heads)
    if isinstance(x, RelativeBias):
        return P(heads)
    if name == "bias":
        return P(
            None if x.shape[0] == 1 else batch,
            None if x.shape[1] == 1 else heads,
            None,
            None,
        )
    return P(batch, *[None] * (x.ndim - 1))


def explicit_spec(x: Array) -> P | None:
    """The sharding in the type of `x`, one entry a dimension; None off such a mesh."""
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return P(*sharding.spec, *[None] * (x.ndim - len(sharding.spec)))
