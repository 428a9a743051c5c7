"""Ring attention: keys and values go round the devices, and outputs merge.

Liu et al. 2023 (Ring Attention), section 3. A device holds its own queries and the keys
and values of one device at a time, in the backward pass too, where their gradients go
round with them: memory does not grow with the number of devices.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from attn.attention import apply
from attn.attention.call import Call
from attn.attention.sequence.gathered import bare
from attn.attention.sequence.shards import needs_positions, over_devices, positions
from attn.kernels import Softmax, TokenInfo
from attn.kernels.blockwise.reordered import merge
from attn.masks import Mask
from attn.parallel.heads import ways
from attn.parallel.ring import (
    RingSchedule,
    from_zigzag,
    ring_schedule,
    shift,
    to_zigzag,
)
from attn.positions import RelativeBias


@dataclass(frozen=True)
class Ring:
    """The static facts of a ring: who meets whom, and how blocks are attended to."""

    axis: str
    schedule: RingSchedule
    kernel: Softmax
    """Softmax with the call's soft-cap; sinks join at the end, once."""
    mask: Mask
    impl: str
    positioned: bool
    """Whether blocks are given the positions of their tokens."""

    @property
    def size(self) -> int:
        """The number of devices, P."""
        return len(self.schedule.blocks)

    def send(self, tree: Any, by: int = 1) -> Any:
        """Sends arrays `by` devices on."""
        return jax.tree.map(lambda x: shift(x, self.axis, self.size, by), tree)

    def go(self, moving: Any, still: Any, meet: Callable[..., tuple]) -> Any:
        """Runs `meet(step, moving, still)`, which gives both again, at every step."""
        moving = self.send(moving, self.schedule.start)
        if self.schedule.steps == 1:
            return meet(0, moving, still)

        def step(carry: Any, step: Array) -> Any:
            moving, still = meet(step, *carry)
            return (self.send(moving), still), None

        steps = jnp.arange(self.schedule.steps)
        return lax.scan(step, (moving, still), steps)[0]

    def home(self, moving: Any) -> Any:
        """Sends what has gone round to the device that it began at."""
        steps = self.schedule.steps
        gone = self.schedule.start + (steps if steps > 1 else 0)
        return self.send(moving, -gone)

    def pairs(self, step: Any) -> Iterator[tuple[int, "Pair"]]:
        """Yields the pairs of blocks that meet at a step, each by that of its queries."""
        schedule, device = self.schedule, lax.axis_index(self.axis)
        blocks = jnp.asarray(schedule.blocks)
        source = (device - schedule.start - step) % self.size
        M = schedule.blocks.shape[1]
        for a in range(M):
            for b in range(M):
                each = schedule.seen[:, :, a, b]
                if each.any():
                    seen = None if each.all() else jnp.asarray(each)[device, step]
                    where = blocks[device, a], blocks[source, b]
                    yield a, Pair(self, M, (a, b), where, seen)


@dataclass(frozen=True)
class Pair:
    """A block of a device's queries and one of the keys that it holds."""

    ring: Ring
    M: int
    """Blocks of a device."""
    own: tuple[int, int]
    """Which of the device's blocks they are."""
    where: tuple[Any, Any]
    """Which blocks of the sequence they are."""
    seen: Any
    """Whether a query sees a key; None where one does on every device, at every step."""

    def where_seen(self, compute: Callable[[Any], Any], otherwise: Any) -> Any:
        """Computes from `otherwise`, which is given back where no key is seen."""
        if self.seen is None:
            return compute(otherwise)
        return lax.cond(self.seen, compute, lambda x: x, otherwise)

    def attend(self, infos: tuple[TokenInfo, TokenInfo], arrays: Any) -> Any:
        """Attends on the pair, of a device's q, k, v and scoring: output and LSE."""
        q, k, v, scoring = arrays
        (a, b), ring = self.own, self.ring
        q, k, v = (part(x, i, self.M) for x, i in ((q, a), (k, b), (v, b)))
        C, D = q.shape[1], k.shape[1]
        if scoring.bias is not None and not isinstance(scoring.bias, RelativeBias):
            cut = lax.dynamic_slice_in_dim(scoring.bias, self.where[1] * D, D, axis=3)
            scoring = replace(scoring, bias=cut)
        B, (first, second) = len(q), self.where
        infos = self._info(infos[0], first, B, C), self._info(infos[1], second, B, D)
        call = Call(ring.kernel, q, k, v, ring.mask, None, scoring, *infos)
        return apply.run(call, ring.impl, lse=True)

    def _info(self, info: TokenInfo, block: Any, B: int, C: int) -> TokenInfo:
        """The token info of a block, of that of whole sequences."""

        def cut(x: Array) -> Array:
            return lax.dynamic_slice_in_dim(x, block * C, C, axis=1)

        info = jax.tree.map(cut, info)
        if info.positions is None and self.ring.positioned:
            return replace(info, positions=positions(block * C, B, C))
        return info


def part(x: Array, index: int, M: int) -> Array:
    """One of M equal parts of [B, L, ...] along its tokens."""
    C = x.shape[1] // M
    return x[:, index * C : (index + 1) * C]


def ring(call: Call, axis: Any, impl: str, lse: bool) -> Any:
    """Attends to the keys of one device after another."""
    call, bias, known = bare(call), call.scoring.bias, not call.has_positions
    sizes = call.q.shape[1], call.k.shape[1], ways(call.q, axis)
    ordered = bias is not None and not isinstance(bias, RelativeBias)
    schedule = ring_schedule(call.mask, *sizes, not known, ordered)
    kernel = Softmax(softcap=call.whole_scoring.softcap)
    positioned = needs_positions(call) or not known
    own = Ring(axis, schedule, kernel, call.mask, impl, positioned)
    return over_devices(partial(_local, own, lse), call, axis, whole="q kv", lse=lse)


def _local(ring: Ring, lse: bool, call: Call) -> Any:
    """Computes the output of a device's queries, in the order of the sequence."""
    turn = partial(to_zigzag, axis=ring.axis, P=ring.size)
    undo = partial(from_zigzag, axis=ring.axis, P=ring.size)
    if not ring.schedule.zigzag:
        turn = undo = lambda x: x
    scoring, sinks = call.scoring, call.whole_scoring.sinks
    arrays = (*map(turn, (call.q, call.k, call.v)), scoring)
    out, own = map(undo, _attend(ring, arrays, (call.q_info, call.kv_info)))
    if sinks is not None:
        total = jnp.logaddexp(own, sinks.astype(own.dtype)[None, None])
        out, own = out * jnp.exp(own - total)[..., None], total
        real = call.q_info.mask
        if real is not None:
            T = out.shape[1]
            real = lax.dynamic_slice_in_dim(real, lax.axis_index(ring.axis) * T, T, 1)
            own = jnp.where(real[..., None], own, -jnp.inf)
    out = out.astype(call.v.dtype)
    return (out, own) if lse else out


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: Ring, arrays: Any, infos: Any) -> tuple[Array, Array]:
    """Merges over the ring: q, k, v and scoring to output and LSE, at least float32."""
    q, k, v, scoring = arrays
    zero = jnp.zeros_like(q[..., 0], jnp.promote_types(q.dtype, jnp.float32))
    wide = jnp.broadcast_to(zero[..., None], (*zero.shape, v.shape[-1]))
    M = ring.schedule.blocks.shape[1]
    empty = [(part(wide, a, M), part(zero, a, M) - jnp.inf) for a in range(M)]

    def meet(step: Any, moving: Any, found: list) -> tuple:
        found = list(found)
        for a, pair in ring.pairs(step):

            def add(old: Any, pair: Pair = pair) -> Any:
                return merge([old, pair.attend(infos, (q, *moving, scoring))])

            found[a] = pair.where_seen(add, found[a])
        return moving, found

    found = ring.go((k, v), empty, meet)[1]
    out, lse = (jnp.concatenate(x, axis=1) for x in zip(*found, strict=True))
    return out, lse


def _forward(ring: Ring, arrays: Any, infos: Any) -> tuple:
    found = _attend(ring, arrays, infos)
    return found, (arrays, infos, found)


def _backward(ring: Ring, saved: Any, cotangents: Any) -> tuple:
    (q, k, v, scoring), infos, found = saved
    M = ring.schedule.blocks.shape[1]

    def meet(step: Any, moving: Any, still: Any) -> tuple:
        (k, v, dk, dv), (dq, d_scoring) = moving, still
        total = dq, dk, dv, d_scoring
        for a, pair in ring.pairs(step):
            rows = jax.tree.map(lambda x, a=a: part(x, a, M), (found, cotangents))

            def add(total: Any, pair: Pair = pair, rows: Any = rows) -> Any:
                attend = partial(pair.attend, infos)
                own, pull = jax.vjp(attend, (q, k, v, scoring))
                grads = pull(_share(own, *rows))[0]
                return jax.tree.map(lambda x, g: x + g.astype(x.dtype), total, grads)

            total = pair.where_seen(add, total)
        dq, dk, dv, d_scoring = total
        return (k, v, dk, dv), (dq, d_scoring)

    wide = [_zeros(x) for x in (q, k, v, scoring)]
    start = (k, v, wide[1], wide[2]), (wide[0], wide[3])
    (_, _, *moved), (dq, d_scoring) = ring.go(*start, meet)
    grads = dq, *ring.home(moved), d_scoring
    given = q, k, v, scoring
    return jax.tree.map(lambda g, x: g.astype(x.dtype), grads, given), None


def _zeros(tree: Any) -> Any:
    """Zeros for the sums of gradients, at least float32."""
    return jax.tree.map(
        lambda x: jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32)), tree
    )


def _share(own: Any, merged: Any, cotangents: Any) -> tuple[Array, Array]:
    """The cotangents of a pair's output and LSE, of those of the merged ones."""
    (out, lse), (all_out, total), (d_out, d_lse) = own, merged, cotangents
    weight = jnp.exp(lse - jnp.where(total == -jnp.inf, 0.0, total))
    along = (d_out * (out - all_out)).sum(axis=-1) + d_lse
    return (weight[..., None] * d_out).astype(out.dtype), weight * along


_attend.defvjp(_forward, _backward)
