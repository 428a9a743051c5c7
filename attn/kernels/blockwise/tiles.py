"""Access to one tile: what it reads, which pairs are visible, where results go."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from attn.device import device_kind
from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.schedule import TileSchedule
from attn.kernels.tokens import TokenInfo
from attn.masks import Tile

AxisSlice = tuple[int, Array, int]
"""An axis, the start on it, and the size."""
Infos = tuple[TokenInfo, TokenInfo]
"""Token info of queries and of keys [B, L]: positions, and segments with `NO_KEY` for
padding."""


class Block(NamedTuple):
    """A block of tokens, for some heads of some sequences."""

    batch: tuple[Array, int]
    """The first sequence, and the number of sequences."""
    tokens: tuple[Array, int]
    """The first token, and the number of tokens. The last block reaches back, so all
    are of one size."""
    heads: tuple[Array, int]
    """The first key/value head, and the number of heads."""
    fresh: Array
    """The first token that no earlier block holds."""

    def slices(
        self, batch: int | None, tokens: int | None, heads: int | None, G: int = 1
    ) -> list[AxisSlice]:
        """The slices of the block on these axes of an array; None if it has none.

        Args:
            G: heads of the array for each key/value head.
        """
        head, count = self.heads
        ranges = self.batch, self.tokens, (head * G, count * G)
        pairs = zip((batch, tokens, heads), ranges)
        return [(axis, *pair) for axis, pair in pairs if axis is not None]

    @property
    def index(self) -> Array:
        """The index of each token, [1, C]."""
        start, size = self.tokens
        return (start + jnp.arange(size))[None]


class Line(NamedTuple):
    """A row or a column of tiles, for the sequences and heads of one step."""

    batch: Array
    head: Array
    index: Array

    @classmethod
    def of(cls, plan: Plan, step: Array, lines: int, K: int) -> "Line":
        """The line that a step computes.

        The last line comes first: it reaches back over tokens of the line before,
        which then writes them again.
        """
        group, index = step // lines, lines - 1 - step % lines
        groups = K // plan.heads
        batch, head = group // groups * plan.batch, group % groups * plan.heads
        return cls(batch, head, index)

    def queries(self, plan: Plan, first: Array, size: int) -> Block:
        """The block of queries of these sequences and heads."""
        return self._block(plan, first, plan.T, size)

    def keys(self, plan: Plan, first: Array, size: int) -> Block:
        """The block of keys of these sequences and heads."""
        return self._block(plan, first, plan.S, size)

    def _block(self, plan: Plan, first: Array, length: int, size: int) -> Block:
        tokens = (jnp.minimum(first, length - size), size)
        batch, heads = (self.batch, plan.batch), (self.head, plan.heads)
        return Block(batch, tokens, heads, first)


def take(x: Array, slices: Iterable[AxisSlice]) -> Array:
    """Slices `x`; an axis of size 1 is shared and is kept whole."""
    dtype = x.dtype
    x = _as_bits(x)
    for axis, start, size in slices:
        # An axis that is read whole may be sharded, and is not sliced.
        if x.shape[axis] not in (1, size):
            x = lax.dynamic_slice_in_dim(x, start, size, axis)
    return _from_bits(x, dtype)


def _as_bits(x: Array) -> Array:
    """Views 16-bit floats as integers; XLA's CPU compiler would store float32."""
    return lax.bitcast_convert_type(x, jnp.uint16) if _narrow(x.dtype) else x


def _from_bits(x: Array, dtype) -> Array:
    return lax.bitcast_convert_type(x, dtype) if _narrow(dtype) else x


def _narrow(dtype) -> bool:
    return dtype in (jnp.bfloat16, jnp.float16) and device_kind() == "cpu"


def put(x: Array, value: Array, slices: Iterable[AxisSlice]) -> Array:
    """Writes `value` in place of `take(x, slices)`."""
    starts = [jnp.int32(0)] * x.ndim
    for axis, start, _ in slices:
        if x.shape[axis] != value.shape[axis]:
            starts[axis] = start.astype(jnp.int32)
    value = _as_bits(value.astype(x.dtype))
    return _from_bits(lax.dynamic_update_slice(_as_bits(x), value, starts), x.dtype)


def add(x: Array, value: Array, slices: list[AxisSlice]) -> Array:
    """Adds `value` to `take(x, slices)`."""
    return put(x, take(x, slices) + value, slices)


def read(x: Array, at: Block) -> Array:
    """Reads [B, S, K, H] as [b, k, C, H]: heads in front, as products need them."""
    return jnp.moveaxis(take(x, at.slices(0, 1, 2)), 1, -2)


def read_groups(x: Array, at: Block, G: int) -> Array:
    """Reads [B, T, N, H] as [b, k, G, C, H].

    Query heads are split in the tile: in the whole array the split could cost a copy,
    as XLA may choose another layout.
    """
    tile = take(x, at.slices(0, 1, 2, G))
    b, C, heads, H = tile.shape
    return jnp.moveaxis(tile.reshape(b, C, heads // G, G, H), 1, -2)


def unread(x: Array) -> Array:
    """Moves heads back: [b, k, C, H] to [b, C, k, H]; a G axis is merged into k."""
    x = jnp.moveaxis(x, -2, 1)
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def visible(
    plan: Plan,
    kind: Tile,
    rows: Block,
    columns: Block,
    infos: Infos,
    as_q: Callable[[Array], Array],
    as_k: Callable[[Array], Array],
) -> Array | None:
    """The visible pairs of a tile, None for all; it broadcasts to the tile.

    Where padding alone hides keys of a tile, there is one value a key and none a pair.

    Args:
        as_q, as_k: broadcast [b, C] along the tile.
    """
    q_info, kv_info = infos
    seen = None
    if kind is Tile.PARTIAL or plan.has_positions:
        q_index, k_index = positions(q_info, rows), positions(kv_info, columns)
        seen = plan.mask.predicate(as_q(q_index), as_k(k_index))
        seen = seen & as_q(rows.index >= rows.fresh)
        seen = seen & as_k(columns.index >= columns.fresh)
    if kv_info.segment_ids is not None:
        keys = as_k(take(kv_info.segment_ids, columns.slices(0, 1, None)))
        q_ids = q_info.segment_ids
        own = 0 if q_ids is None else as_q(take(q_ids, rows.slices(0, 1, None)))
        same = keys == own
        seen = same if seen is None else seen & same
    return seen


def positions(info: TokenInfo, at: Block) -> Array:
    """The positions of the tokens of a block, [b or 1, C]."""
    if info.positions is None:
        return at.index
    return take(info.positions, at.slices(0, 1, None))


def fold(plan: Plan, schedule: TileSchedule, line: Array, body, carry):
    """Folds `body(carry, first, kind)` over the tiles of a line.

    Args:
        body: takes the first token of a tile along the line, and how much of it the
            mask shows.
    """
    for kind in (Tile.FULL, Tile.PARTIAL):
        if schedule.first[kind].size == 0:
            continue
        pointers, first = (
            jnp.asarray(schedule.pointers[kind]),
            jnp.asarray(schedule.first[kind]),
        )

        def visit(n, carry, first=first, kind=kind):
            return body(carry, first[n], kind)

        carry = lax.fori_loop(pointers[line], pointers[line + 1], visit, carry)
    return carry
