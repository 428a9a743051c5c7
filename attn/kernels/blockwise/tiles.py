"""One tile of the map: what it reads, what it may see, and where its results go."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from attn.device import device_kind
from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.walks import Walk
from attn.masks import Tile

Part = tuple[int, Array, int]
"""An axis, where on it to begin, and how far to go."""


class Marks(NamedTuple):
    """What is known of the tokens at run time only, [B, T] or [B, S]."""

    q_ids: Array | None = None
    kv_ids: Array | None = None
    q_positions: Array | None = None
    kv_positions: Array | None = None


class Block(NamedTuple):
    """Some tokens of some heads of some sequences."""

    batch: tuple[Array, int]
    """First sequence, and how many."""
    tokens: tuple[Array, int]
    """First token, and how many. The last block reaches back, so all are of one size."""
    heads: tuple[Array, int]
    """First key/value head, and how many."""
    fresh: Array
    """First token that no block before it holds."""

    def parts(
        self, batch: int | None, tokens: int | None, heads: int | None, G: int = 1
    ) -> list[Part]:
        """The block on these axes of an array; None where the array has none.

        Args:
            G: heads of the array for each key/value head.
        """
        head, count = self.heads
        ranges = self.batch, self.tokens, (head * G, count * G)
        pairs = zip((batch, tokens, heads), ranges)
        return [(axis, *pair) for axis, pair in pairs if axis is not None]

    @property
    def places(self) -> Array:
        """Index of each token [1, C]."""
        start, size = self.tokens
        return (start + jnp.arange(size))[None]


class Line(NamedTuple):
    """A row or a column of tiles, for the sequences and heads of one step."""

    batch: Array
    head: Array
    index: Array

    @classmethod
    def of(cls, plan: Plan, step: Array, lines: int, K: int) -> "Line":
        """The line of a step.

        The last line comes first: it reaches back over tokens of the line before,
        which then writes them again.
        """
        group, index = step // lines, lines - 1 - step % lines
        groups = K // plan.heads
        batch, head = group // groups * plan.batch, group % groups * plan.heads
        return cls(batch, head, index)

    def queries(self, plan: Plan, first: Array, size: int) -> Block:
        """A block of queries of these sequences and heads."""
        return self._block(plan, first, plan.T, size)

    def keys(self, plan: Plan, first: Array, size: int) -> Block:
        """A block of keys of these sequences and heads."""
        return self._block(plan, first, plan.S, size)

    def _block(self, plan: Plan, first: Array, length: int, size: int) -> Block:
        tokens = (jnp.minimum(first, length - size), size)
        batch, heads = (self.batch, plan.batch), (self.head, plan.heads)
        return Block(batch, tokens, heads, first)


def cut(x: Array, parts: Iterable[Part]) -> Array:
    """A part of `x`; an axis of size 1 is shared, and stays."""
    dtype = x.dtype
    x = _as_bits(x)
    for axis, start, size in parts:
        # An axis that is wanted whole may lie over a mesh, and is not sliced.
        if x.shape[axis] not in (1, size):
            x = lax.dynamic_slice_in_dim(x, start, size, axis)
    return _from_bits(x, dtype)


def _as_bits(x: Array) -> Array:
    """16-bit floats as integers: XLA's CPU compiler would hold them as float32."""
    return lax.bitcast_convert_type(x, jnp.uint16) if _narrow(x.dtype) else x


def _from_bits(x: Array, dtype) -> Array:
    return lax.bitcast_convert_type(x, dtype) if _narrow(dtype) else x


def _narrow(dtype) -> bool:
    return dtype in (jnp.bfloat16, jnp.float16) and device_kind() == "cpu"


def put(x: Array, value: Array, parts: Iterable[Part]) -> Array:
    """`x` with `value` in place of `cut(x, parts)`."""
    starts = [jnp.int32(0)] * x.ndim
    for axis, start, _ in parts:
        if x.shape[axis] != value.shape[axis]:
            starts[axis] = start.astype(jnp.int32)
    value = _as_bits(value.astype(x.dtype))
    return _from_bits(lax.dynamic_update_slice(_as_bits(x), value, starts), x.dtype)


def add(x: Array, value: Array, parts: list[Part]) -> Array:
    """`x` with `value` added to `cut(x, parts)`."""
    return put(x, cut(x, parts) + value, parts)


def read(x: Array, at: Block) -> Array:
    """[B, S, K, H] to [b, k, C, H]: heads in front, as products want them."""
    return jnp.moveaxis(cut(x, at.parts(0, 1, 2)), 1, -2)


def read_groups(x: Array, at: Block, G: int) -> Array:
    """[B, T, N, H] to [b, k, G, C, H].

    Query heads are split in the tile: split in the whole array, which XLA may lay out
    anew, they would cost a copy of it.
    """
    tile = cut(x, at.parts(0, 1, 2, G))
    b, C, heads, H = tile.shape
    return jnp.moveaxis(tile.reshape(b, C, heads // G, G, H), 1, -2)


def unread(x: Array) -> Array:
    """[b, k, C, H] to [b, C, k, H], and [b, k, G, C, H] to [b, C, k G, H]."""
    x = jnp.moveaxis(x, -2, 1)
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def visible(
    plan: Plan,
    rows: Block,
    columns: Block,
    marks: Marks,
    as_q: Callable[[Array], Array],
    as_k: Callable[[Array], Array],
) -> Array:
    """Which pairs of a tile are seen; `as_q` and `as_k` lay [b, C] along the tile."""

    def own(x: Array | None, at: Block) -> Array | None:
        return None if x is None else cut(x, at.parts(0, 1, None))

    q_places, k_places = own(marks.q_positions, rows), own(marks.kv_positions, columns)
    seen = plan.mask.predicate(
        as_q(rows.places if q_places is None else q_places),
        as_k(columns.places if k_places is None else k_places),
    )
    seen = seen & as_q(rows.places >= rows.fresh)
    seen = seen & as_k(columns.places >= columns.fresh)
    q_ids, kv_ids = own(marks.q_ids, rows), own(marks.kv_ids, columns)
    if kv_ids is not None:
        seen = seen & ((0 if q_ids is None else as_q(q_ids)) == as_k(kv_ids))
    return seen


def fold(plan: Plan, walk: Walk, line: Array, body, carry):
    """Folds `body(carry, first, masked)` over the tiles of a line.

    Args:
        body: takes the first token of a tile along the line, and whether to mask it.
    """
    for kind in (Tile.FULL, Tile.PARTIAL):
        if walk.first[kind].size == 0:
            continue
        pointers, first = (
            jnp.asarray(walk.pointers[kind]),
            jnp.asarray(walk.first[kind]),
        )

        def visit(n, carry, first=first, masked=kind is Tile.PARTIAL or plan.marked):
            return body(carry, first[n], masked)

        carry = lax.fori_loop(pointers[line], pointers[line + 1], visit, carry)
    return carry
