"""Mechanisms with a state: each device goes on from the state of those before it.

Every device sums up its own tokens at once, in a `transfer` whose size does not depend on
their number; all are gathered, and each device applies those before its own in turn. So
no device waits for the outputs of another, in either pass.
"""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from attn.attention.apply import over_heads
from attn.attention.call import Call
from attn.attention.choose import note
from attn.attention.sequence.shards import over_devices
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.kernels.base import sums_dtype
from attn.kernels.resumable import Resumable
from attn.masks import FULL


def scan(call: Call, axis: Any, impl: str, lse: bool) -> Any:
    """Attends from each device's tokens, which go on from a state."""
    real, form = call.q_info.mask, resumable(call).resumes
    if impl not in ("auto", form):
        raise UserError(
            f"impl = {impl!r} of kernel {call.kernel.name!r} with strategy = 'scan'; it "
            f"is {form!r}, and strategy = 'all_to_all' takes others"
        )
    note(call.kernel, form, "a state goes on in it")
    bare = replace(call, q_info=TokenInfo())
    out = over_devices(partial(_local, axis), bare, axis, lse=lse)
    return out if real is None else jnp.where(real[..., None, None], out, 0)


def _local(axis: Any, call: Call) -> Any:
    """Computes the output of a device's queries."""
    kernel = resumable(call)
    found = over_heads(call, kernel.transfer, leading=True)
    # Tiled: under `vmap`, jax 0.10 transposes the other form to a swapped shape.
    each = jax.tree.map(lambda x: lax.all_gather(x[None], axis, tiled=True), found)
    own, every = lax.axis_index(axis), call.mask == FULL
    after = jax.vmap(jax.vmap(jax.vmap(kernel.after)))

    def step(state: Any, x: Any) -> Any:
        device, transfer = x
        counts = (device < own) | every
        new = after(state, transfer)
        return jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, state), None

    parts = jnp.arange(len(jax.tree.leaves(each)[0]))
    state = lax.scan(step, _begin(call), (parts, each))[0]
    return over_heads(call, partial(kernel.resume, mask=call.mask), state)


def resumable(call: Call) -> Resumable:
    """The kernel of a call, which has a state."""
    return cast(Resumable, call.kernel)


def _begin(call: Call) -> Any:
    """The state of every head before the first token."""

    def begin(q: Any, k: Any, v: Any, **parts: Any) -> Any:
        # Sums with zeros of q have its type on a mesh.
        zero = jnp.zeros_like(q[0, 0], sums_dtype(q))
        start = call.kernel.begin(q.shape[1], v.shape[1])
        return jax.tree.map(lambda x: x.astype(zero.dtype) + zero, start)

    return over_heads(call, begin, leading=True)
