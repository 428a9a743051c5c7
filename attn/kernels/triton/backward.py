"""The backward kernels: queries' gradients by rows of tiles, keys' and values' by columns.

Both compute the weights again from the log-sum-exp (Dao 2023, algorithm 2). Two passes take
7 products a tile where one would take 5, and need no atomic additions: the same call gives
the same bits.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from attn.kernels.triton.grid import Rows, Tiles, load, own_line, run, visit
from attn.kernels.triton.plan import Blocks, Inputs, Plan
from attn.kernels.triton.tile import factor, product, scores_of, sides, visible


def queries_gradient(plan: Plan, inputs: Inputs, rows: Rows) -> Float[Array, "B T N H"]:
    """Computes the gradient of the queries."""
    return run(
        *(attention_queries, plan, plan.blocks.queries, True, inputs, rows),
        [jax.ShapeDtypeStruct(inputs.q.shape, inputs.q.dtype)],
    )[0]


def keys_gradients(
    plan: Plan, inputs: Inputs, rows: Rows
) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K V"]]:
    """Computes the gradients of the keys and the values."""
    return run(
        *(attention_keys, plan, plan.blocks.keys, False, inputs, rows),
        [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (inputs.k, inputs.v)],
    )


def attention_queries(
    plan: Plan, blocks: Blocks, tiles: Tiles, inputs: Inputs, rows: Rows, d_q
):
    """Visits the tiles of one block of queries for its gradient."""
    line, sizes = own_line(tiles), (blocks.line, blocks.other)
    row = line.block
    span = pl.ds(row * blocks.line, blocks.line)
    q, d_out = (load(x, row, blocks.line) for x in (inputs.q, rows.d_out))
    lse, delta = (x[span][:, None] for x in (rows.lse, rows.delta))

    def add(column, table, masked, acc):
        k, v = (load(x, column, blocks.other) for x in (inputs.k, inputs.v))
        scores, d_weights = scores_of(plan, q, k), product(d_out, v, 1, 1)
        weights = _weights(plan, scores, lse)
        if masked:
            seen = visible(plan, *sides(plan, inputs, True, sizes, row, column), table)
            weights = jnp.where(seen, weights, 0.0)
        d_scores = _d_scores(plan, scores, weights, d_weights - delta)
        return acc + product(d_scores.astype(k.dtype), k, 1, 0)

    acc = visit(plan, tiles, line, add, jnp.zeros(q.shape, jnp.float32))
    d_q[span, :] = (acc * plan.scale).astype(d_q.dtype)


def attention_keys(
    plan: Plan, blocks: Blocks, tiles: Tiles, inputs: Inputs, rows: Rows, d_k, d_v
):
    """Visits the tiles of one block of keys for its gradients, head by head of its group."""
    line, sizes = own_line(tiles), (blocks.line, blocks.other)
    column = line.block
    k, v = (load(x, column, blocks.line) for x in (inputs.k, inputs.v))

    def add_head(head, sums):
        def add(row, table, masked, sums):
            acc_k, acc_v = sums
            q, d_out = (
                load(x, row, blocks.other, head) for x in (inputs.q, rows.d_out)
            )
            span = pl.ds(row * blocks.other, blocks.other)
            lse, delta = (x[head, span][None, :] for x in (rows.lse, rows.delta))
            scores, d_weights = scores_of(plan, k, q), product(v, d_out, 1, 1)
            weights = _weights(plan, scores, lse)
            if masked:
                place = sides(plan, inputs, False, sizes, column, row)
                weights = jnp.where(visible(plan, *place, table), weights, 0.0)
            d_scores = _d_scores(plan, scores, weights, d_weights - delta)
            acc_v += product(weights.astype(d_out.dtype), d_out, 1, 0)
            return acc_k + product(d_scores.astype(q.dtype), q, 1, 0), acc_v

        return visit(plan, tiles, line, add, sums)

    sums = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    G = rows.lse.shape[0]
    acc_k, acc_v = add_head(0, sums) if G == 1 else lax.fori_loop(0, G, add_head, sums)
    span = pl.ds(column * blocks.line, blocks.line)
    d_k[span, :] = (acc_k * plan.scale).astype(d_k.dtype)
    d_v[span, :] = acc_v.astype(d_v.dtype)


def _weights(plan: Plan, scores: Array, lse: Array) -> Array:
    """The weights of a tile; a query that saw nothing has the log-sum-exp inf."""
    return jnp.exp2(scores * factor(plan) - lse)


def _d_scores(plan: Plan, scores: Array, weights: Array, gap: Array) -> Array:
    """The gradient of a tile's scores before they are scaled."""
    d_scores = weights * gap
    if plan.softcap is None:
        return d_scores
    return d_scores * (1.0 - (scores / plan.softcap) ** 2)
