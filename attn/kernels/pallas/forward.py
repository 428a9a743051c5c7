"""The forward kernel: online softmax over rows of tiles."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from attn.kernels.pallas.grid import Grid, Output
from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile import product, scores_of, visible, visit
from attn.kernels.pallas.tile_list import FIRST, LAST


def forward(
    plan: Plan, inputs: Inputs
) -> tuple[Float[Array, "B N T V"], Float[Array, "B N 1 T"]]:
    """Computes the output, in the dtype of `v`, and the log-sum-exp of the scores."""
    grid = Grid.of(plan, inputs, of_rows=True)
    (B, N, T, H), V = inputs.q.shape, inputs.v.shape[-1]
    out = jax.ShapeDtypeStruct((B, N, T, V), inputs.v.dtype)
    lse = jax.ShapeDtypeStruct((B, N, 1, T), jnp.float32)
    outputs = Output(out, grid.queries(V)), Output(lse, grid.of_queries())
    sums = [(1, plan.q_block), (1, plan.q_block), (V, plan.q_block)]
    return grid.run(attention_forward, inputs, (), outputs, sums, H + V)


def attention_forward(grid: Grid, places, notes, inputs, table, _, out, lse, top, total, acc):  # fmt: skip
    """Visits one tile; a line's first sets the sums, its last writes what they give."""
    ids = [pl.program_id(axis) for axis in range(3)]
    at, note = grid.at(*ids, places, notes), notes[ids[2]]

    @pl.when((note & FIRST) != 0)
    def _():
        top[...] = jnp.full_like(top, -jnp.inf)
        total[...] = jnp.zeros_like(total)
        acc[...] = jnp.zeros_like(acc)

    def add(masked: bool) -> None:
        scores = scores_of(grid.plan, inputs.q[...], inputs.k[...])
        if masked:
            seen = visible(grid.plan, at, note, inputs, table)
            scores = jnp.where(seen, scores, -jnp.inf)
        _add(scores, inputs.v[...], top, total, acc)

    visit(grid.plan, note, add)

    @pl.when((note & LAST) != 0)
    def _():
        sink = None if inputs.sinks is None else inputs.sinks[at.head]
        _finish(sink, out, lse, top, total, acc)


def _add(scores: Array, v: Array, top: Any, total: Any, acc: Any) -> None:
    """Adds one tile to the running maximum, sum of weights and sum of values."""
    new_top = jnp.maximum(top[...], scores.max(axis=0, keepdims=True))
    shift = jnp.where(new_top == -jnp.inf, 0.0, new_top)
    weights, fade = jnp.exp(scores - shift), jnp.exp(top[...] - shift)
    top[...] = new_top
    total[...] = total[...] * fade + weights.sum(axis=0, keepdims=True)
    acc[...] = acc[...] * fade + product(v, weights.astype(v.dtype), 0, 0)


def _finish(sink: Any, out: Any, lse: Any, top: Any, total: Any, acc: Any) -> None:
    """Writes the output and the log-sum-exp of a row of tiles; 0 and -inf of none."""
    high, weight, values = top[...], total[...], acc[...]
    if sink is not None:
        new_high = jnp.maximum(high, sink)
        fade = jnp.exp(high - new_high)
        weight = weight * fade + jnp.exp(sink - new_high)
        high, values = new_high, values * fade
    blind = weight == 0
    weight = jnp.where(blind, 1.0, weight)
    out[...] = (values / weight).T.astype(out.dtype)
    lse[...] = jnp.where(blind, -jnp.inf, high + jnp.log(weight))
