"""One tile inside a kernel: its scores, and which of its pairs are visible."""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jaxtyping import Array, Bool, Float

from attn.kernels.triton.plan import Inputs, Plan

LOG2E = math.log2(math.e)


def product(a: Array, b: Array, a_axis: int, b_axis: int) -> Float[Array, "..."]:
    """Multiplies matrices over one axis of each, with float32 sums.

    Float32 is multiplied as `jax.default_matmul_precision` says: in TF32 unless changed, as
    XLA does.
    """
    dims = (((a_axis,), (b_axis,)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def scores_of(plan: Plan, q: Array, k: Array) -> Float[Array, "D C"]:
    """The scores of a tile, `factor` times which are to the base 2.

    A scale above 0 is left to `factor`, so that it and the maximum are one operation.
    """
    scores = product(q, k, 1, 1)
    if plan.softcap is not None:
        return plan.softcap * jnp.tanh(scores * (plan.scale / plan.softcap))
    return scores if is_left(plan) else scores * plan.scale


def is_left(plan: Plan) -> bool:
    """Whether the scale is left to `factor`; not where it could be 0 in float32."""
    return plan.softcap is None and plan.scale > 1e-30


def factor(plan: Plan) -> float:
    """The factor of scores, to the base 2."""
    return LOG2E * (plan.scale if is_left(plan) else 1.0)


class Side:
    """The tokens of one block: their indices, ids and positions, as a column or a row."""

    def __init__(self, block: Any, size: int, axis: int, ids: Any, positions: Any):
        span = pl.ds(block * size, size)
        self.index = self._lay(block * size + jnp.arange(size, dtype=jnp.int32), axis)
        self.ids = None if ids is None else self._lay(ids[span], axis)
        self.at = self.index if positions is None else self._lay(positions[span], axis)

    @staticmethod
    def _lay(x: Array, axis: int) -> Array:
        return jnp.expand_dims(x, 1 - axis)


def visible(plan: Plan, q: Side, k: Side, table: Array | None) -> Bool[Array, "D C"]:
    """The visible pairs of a tile, by the mask, by lengths and by ids."""
    seen = plan.mask.predicate(q.at, k.at) if table is None else table != 0
    if table is None and plan.padded[1] > plan.S:
        seen = seen & (k.index < plan.S)
    if k.ids is not None:
        seen = seen & (k.ids == (0 if q.ids is None else q.ids))
    return jnp.broadcast_to(seen, jnp.broadcast_shapes(q.index.shape, k.index.shape))


def sides(plan: Plan, inputs: Inputs, of_rows: bool, sizes, line, other):
    """The queries and the keys of a tile; the line's own tokens are a column."""
    q_block, k_block = (line, other) if of_rows else (other, line)
    q_size, k_size = sizes if of_rows else sizes[::-1]
    q_axis, k_axis = (0, 1) if of_rows else (1, 0)
    q = Side(q_block, q_size, q_axis, inputs.q_ids, inputs.q_positions)
    return q, Side(k_block, k_size, k_axis, inputs.kv_ids, inputs.kv_positions)
