"""The forward kernel: online softmax over a row of tiles."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from attn.kernels.triton.grid import Tiles, load, own_line, run, visit
from attn.kernels.triton.plan import Blocks, Inputs, Plan
from attn.kernels.triton.tile import LOG2E, factor, product, scores_of, sides, visible


def forward(
    plan: Plan, inputs: Inputs
) -> tuple[Float[Array, "B T N V"], Float[Array, "B N T"]]:
    """Computes the output, in the dtype of `v`, and the log-sum-exp to the base 2."""
    (B, T, N, _), V = inputs.q.shape, inputs.v.shape[-1]
    out = jax.ShapeDtypeStruct((B, T, N, V), inputs.v.dtype)
    lse = jax.ShapeDtypeStruct((B, N, T), jnp.float32)
    return run(
        attention_forward, plan, plan.blocks.forward, True, inputs, None, (out, lse)
    )


def attention_forward(
    plan: Plan, blocks: Blocks, tiles: Tiles, inputs: Inputs, _, out, lse
):
    """Visits the tiles of one block of queries, and writes its output."""
    line, sizes = own_line(tiles), (blocks.line, blocks.other)
    row = line.block
    q = load(inputs.q, row, blocks.line)

    def add(column, table, masked, sums):
        k = load(inputs.k, column, blocks.other)
        scores = scores_of(plan, q, k)
        if masked:
            seen = visible(plan, *sides(plan, inputs, True, sizes, row, column), table)
            scores = jnp.where(seen, scores, -jnp.inf)
        return _add(plan, masked, scores, load(inputs.v, column, blocks.other), *sums)

    top = jnp.full(blocks.line, -jnp.inf, jnp.float32)
    acc = jnp.zeros((blocks.line, inputs.v.shape[-1]), jnp.float32)
    top, total, acc = visit(plan, tiles, line, add, (top, jnp.zeros_like(top), acc))
    if inputs.sinks is not None:
        sink = inputs.sinks[pl.program_id(0)] * LOG2E
        top, total, acc = _add_sink(sink, top, total, acc)
    blind = total == 0.0
    total = jnp.where(blind, 1.0, total)
    span = pl.ds(row * blocks.line, blocks.line)
    out[span, :] = (acc / total[:, None]).astype(out.dtype)
    lse[span] = jnp.where(blind, -jnp.inf, top + jnp.log2(total))


def _add(
    plan: Plan,
    masked: bool,
    scores: Array,
    v: Array,
    top: Array,
    total: Array,
    acc: Array,
) -> tuple[Array, Array, Array]:
    """Adds one tile to the running maximum, sum of weights and sum of values."""
    new_top = jnp.maximum(top, scores.max(axis=1) * factor(plan))
    shift = jnp.where(new_top == -jnp.inf, 0.0, new_top) if masked else new_top
    weights = jnp.exp2(scores * factor(plan) - shift[:, None])
    fade = jnp.exp2(top - shift)
    acc = acc * fade[:, None] + product(weights.astype(v.dtype), v, 1, 0)
    return new_top, total * fade + weights.sum(axis=1), acc


def _add_sink(sink: Any, top: Array, total: Array, acc: Array):
    """Adds a score without a value."""
    new_top = jnp.maximum(top, sink)
    fade = jnp.exp2(top - new_top)
    total = total * fade + jnp.exp2(sink - new_top)
    return new_top, total, acc * fade[:, None]
