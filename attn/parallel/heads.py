"""Heads as key/value heads and groups of query heads, sharded or not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array

from attn.errors import UserError
from attn.parallel.shard import explicit_spec


def for_all(x: Array, like: Array) -> Array:
    """Broadcasts `x` [#B, L, K, R] to each sequence and each head of `like`."""
    (b, L, K, R), (B, _, N, _), spec = x.shape, like.shape, explicit_spec(like)
    if (b, K) == (B, N):
        return x
    wide = None if spec is None else P(spec[0], None, spec[2], None, None)
    x = jnp.broadcast_to(x[:, :, :, None], (B, L, K, N // K, R), out_sharding=wide)
    return jnp.reshape(x, (B, L, N, R), out_sharding=spec)


def spread(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Copies key/value heads, so that each device has those that its queries read.

    Where the mesh divides query heads into more parts than there are key/value heads,
    every part reads one of them whole.
    """
    spec, K = explicit_spec(q), k.shape[2]
    parts = 1 if spec is None else ways(q, spec[2])
    if spec is None or K % parts == 0:
        return k, v
    if parts % K:
        raise UserError(
            f"the mesh divides {q.shape[2]} heads into {parts} parts; {K} "
            "key/value heads must divide that, or be divided by it"
        )

    def copies(x):
        # The axis divides the copies of one head, whose gradients then only add up. Of
        # several it divides heads and copies together: these are made on each device,
        # and their gradients gathered.
        axis = spec[2] if K == 1 else None
        x = reshard(x, P(spec[0], seq, None, None))
        shape = (*x.shape[:3], parts // K, x.shape[3])
        wide = P(spec[0], seq, None, axis, None)
        x = jnp.broadcast_to(x[:, :, :, None], shape, out_sharding=wide)
        shape = (*x.shape[:2], parts, x.shape[4])
        x = jnp.reshape(x, shape, out_sharding=P(spec[0], seq, axis, None))
        return reshard(x, P(spec[0], seq, spec[2], None))

    seq = (explicit_spec(k) or spec)[1]
    return copies(k), copies(v)


def ways(x: Array, axis: Any) -> int:
    """The number of parts that a mesh axis, or none, divides an array into."""
    sizes = jax.typeof(x).sharding.mesh.shape
    names = axis if isinstance(axis, tuple) else (axis,) if axis else ()
    return int(np.prod([sizes[name] for name in names]))


def split(x: Array, axis: int, groups: tuple[int, int]) -> Array:
    """Splits axis N into (K, G), sharded over K as it was over N."""
    x = plain(x, axis)
    shape = x.shape[:axis] + groups + x.shape[axis + 1 :]
    spec = explicit_spec(x)
    if spec is not None:
        # One key/value head is divided by an axis of size 1 at most.
        heads = None if groups[0] == 1 else spec[axis]
        spec = P(*spec[:axis], heads, None, *spec[axis + 1 :])
    return jnp.reshape(x, shape, out_sharding=spec)


def join(x: Array, axis: int, like: P | None) -> Array:
    """Merges axes (K, G) into N, sharded as `like`."""
    shape = (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])
    spec = explicit_spec(x)
    if spec is None or like is None:
        return jnp.reshape(x, shape)
    heads = spec[axis] if spec[axis] is not None else spec[axis + 1]
    spec = P(*spec[:axis], heads, *spec[axis + 2 :])
    x = jnp.reshape(x, shape, out_sharding=spec)
    return reshard(x, P(*spec[:axis], like[axis], *spec[axis + 1 :]))


def plain(x: Array, axis: int) -> Array:
    """Removes the mesh axis of a dimension of size 1, which it cannot divide.

    Under `vmap`, jax 0.10 gives the cotangent of such a dimension another type than
    its primal.
    """
    spec = explicit_spec(x)
    if spec is None or x.shape[axis] > 1 or spec[axis] is None:
        return x
    return reshard(x, P(*spec[:axis], None, *spec[axis + 1 :]))
