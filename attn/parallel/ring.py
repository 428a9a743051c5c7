"""The ring of devices that hold parts of a sequence: who meets whom, and zig-zag order.

In zig-zag order a device holds two blocks of the sequence, one as far from the start as
the other from the end, so that under a causal mask all devices have equal work: Brandon
et al. 2023 (Striped Attention) name the imbalance; the order is that of Llama 3
(Grattafiori et al. 2024, section 3.3.2).
"""

from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from attn.masks import Mask, Tile


@dataclass(frozen=True, eq=False)
class RingSchedule:
    """The blocks that meet at each step of a ring, known before any array."""

    blocks: np.ndarray
    """The blocks [P, M] of the sequence that each device holds."""
    start: int
    """How many devices back the first keys come from."""
    steps: int
    """The number of devices whose keys each device meets."""
    seen: np.ndarray
    """Whether a query of block a of device i sees a key of block b, [P, steps, M, M]."""

    @property
    def zigzag(self) -> bool:
        """Whether blocks are in zig-zag order."""
        return self.blocks.shape[1] == 2

    @property
    def work(self) -> int:
        """Pairs of blocks that the busiest device has at each step, summed."""
        return int(self.seen.sum(axis=(2, 3)).max(axis=0).sum())


@cache
def ring_schedule(
    mask: Mask, T: int, S: int, P: int, opaque: bool = False, ordered: bool = False
) -> RingSchedule:
    """Makes the schedule of a ring of P devices under a mask.

    Zig-zag order is taken where it lessens the work of the busiest device.

    Args:
        opaque: nothing is known of the positions, so that every block sees every one.
        ordered: tokens must keep their order.
    """
    plain = _schedule(mask, T, S, np.arange(P)[:, None], opaque)
    if opaque or ordered or T % (2 * P) or S % (2 * P):
        return plain
    both = np.stack([np.arange(P), 2 * P - 1 - np.arange(P)], axis=1)
    folded = _schedule(mask, T, S, both, opaque)
    halves = _schedule(mask, T, S, np.arange(2 * P).reshape(P, 2), opaque)
    return folded if folded.work < halves.work else plain


def _schedule(
    mask: Mask, T: int, S: int, blocks: np.ndarray, opaque: bool
) -> RingSchedule:
    P, M = blocks.shape
    back = (np.arange(P)[:, None] - np.arange(P)[None]) % P
    C, D = T // (P * M), S // (P * M)
    q, k = blocks[:, None, :, None] * C, blocks[back][:, :, None, :] * D
    seen = np.ones((P, P, M, M), bool)
    if not opaque:
        seen &= mask.tile(q, q + C, k, k + D) != Tile.EMPTY
    start, steps = _shortest_arc(np.asarray(seen.any(axis=(0, 2, 3))))
    return RingSchedule(blocks, start, steps, np.roll(seen, -start, 1)[:, :steps])


def _shortest_arc(needed: np.ndarray) -> tuple[int, int]:
    """The start and length of the shortest arc of a circle that holds all that is True."""
    P, at = len(needed), np.flatnonzero(needed)
    if not len(at):
        return 0, 1
    gaps = np.diff(np.append(at, at[0] + P))
    longest = len(gaps) - 1 - int(gaps[::-1].argmax())
    return int(at[(longest + 1) % len(at)]), P - int(gaps[longest]) + 1


def shift(x: Array, axis: str, P: int, by: int = 1) -> Array:
    """Sends `x` to the device `by` places on; it is that of the device as far back."""
    if by % P == 0:
        return x
    return lax.ppermute(x, axis, [(i, (i + by) % P) for i in range(P)])


def to_zigzag(x: Array, axis: str, P: int) -> Array:
    """Reorders [B, L / P, ...] of each device from the sequence's order to zig-zag."""
    even, odd = (
        _permute(half, axis, _moves(P, first))
        for first, half in enumerate(jnp.split(x, 2, axis=1))
    )
    return _alternate(even, odd, axis)


def from_zigzag(x: Array, axis: str, P: int) -> Array:
    """Undoes `to_zigzag`."""
    low, high = jnp.split(x, 2, axis=1)
    low, high = jnp.split(_alternate(low, high, axis), 2, axis=1)
    halves = (
        _permute(half, axis, [(to, i) for i, to in _moves(P, first)])
        for first, half in enumerate((low, high))
    )
    return jnp.concatenate(list(halves), axis=1)


def _moves(P: int, first: int) -> list[tuple[int, int]]:
    """The device that holds each even half, or odd one, in zig-zag order."""
    halves = [2 * i + first for i in range(P)]
    return [(i, h if h < P else 2 * P - 1 - h) for i, h in enumerate(halves)]


def _permute(x: Array, axis: str, moves: list[tuple[int, int]]) -> Array:
    """Sends along the axis, and nothing where every part stays, which XLA would send."""
    stays = all(source == target for source, target in moves)
    return x if stays else lax.ppermute(x, axis, moves)


def _alternate(a: Array, b: Array, axis: str) -> Array:
    """Puts `a` before `b` on devices of even number, after it on others."""
    odd = lax.axis_index(axis) % 2 == 1
    return jnp.concatenate([jnp.where(odd, b, a), jnp.where(odd, a, b)], axis=1)
