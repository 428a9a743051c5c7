"""One tile inside a kernel: its note, its scores, and which of its pairs are visible.

A tile lies [keys, queries]: what is known of a query, its maximum and its sum, is then
one row of lanes, and softmax reduces over sublanes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jaxtyping import Array, Bool, Float

from attn.kernels.pallas.grid import At
from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile_list import KIND
from attn.masks import Tile


def visit(plan: Plan, note: Any, add: Callable[[bool], None]) -> None:
    """Calls `add(masked)` for a tile that is not empty."""
    kind = note & KIND
    if plan.has_ids or plan.has_positions:
        pl.when(kind != Tile.EMPTY)(partial(add, True))
        return
    pl.when(kind == Tile.FULL)(partial(add, False))
    pl.when(kind == Tile.PARTIAL)(partial(add, True))


def product(a: Array, b: Array, a_axis: int, b_axis: int) -> Float[Array, "..."]:
    """Multiplies matrices over one axis of each, with float32 sums.

    Float32 operands are multiplied as such, which a TPU would not by default.
    """
    full = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    dims = (((a_axis,), (b_axis,)), ((), ()))
    return lax.dot_general(
        a, b, dims, precision=full, preferred_element_type=jnp.float32
    )


def scores_of(plan: Plan, q: Array, k: Array) -> Float[Array, "D C"]:
    """The scores of a tile: scaled, and capped."""
    scores = product(k, q, 1, 1) * plan.scale
    if plan.softcap is not None:
        scores = plan.softcap * jnp.tanh(scores / plan.softcap)
    return scores


def visible(
    plan: Plan, at: At, note: Any, inputs: Inputs, table: Any
) -> Bool[Array, "D C"]:
    """The visible pairs of a tile, by the mask, by lengths and by ids."""
    shape = plan.k_block, plan.q_block
    q_index = at.q * shape[1] + lax.broadcasted_iota(jnp.int32, (1, shape[1]), 1)
    k_index = at.k * shape[0] + lax.broadcasted_iota(jnp.int32, (shape[0], 1), 0)
    q, k = q_index, k_index
    if plan.has_positions:
        q = _positions(inputs.q_positions, q)
        k = _positions(inputs.kv_positions, k, column)
    seen = _by_table(plan, note, table) if plan.tabled else plan.mask.predicate(q, k)
    if plan.S % shape[0]:
        seen = seen & (k_index < plan.S)
    if inputs.kv_ids is not None:
        own = 0 if inputs.q_ids is None else inputs.q_ids[...]
        seen = seen & (column(inputs.kv_ids[...]) == own)
    return jnp.broadcast_to(seen, shape)


def _positions(given: Any, index: Array, lay: Callable[[Array], Array] = lambda x: x):
    return index if given is None else lay(given[...])


def column(row: Array) -> Array:
    """Turns [1, D] into [D, 1]."""
    return row.reshape(row.shape[1], 1)


def _by_table(plan: Plan, note: Any, table: Any) -> Array:
    """Unpacks the bits of a tile's table; a FULL tile has none, and shows all."""
    words = jnp.broadcast_to(
        table[...][:, None, :], (plan.k_block // 32, 32, plan.q_block)
    )
    bits = lax.shift_right_logical(
        words, lax.broadcasted_iota(jnp.int32, words.shape, 1)
    )
    seen = (bits & 1).reshape(plan.k_block, plan.q_block)
    return (seen != 0) | ((note & KIND) == Tile.FULL)
