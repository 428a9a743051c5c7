"""The backward pass: all gradients in one pass over columns of tiles.

A tile is laid out [b, k, D, g, C], keys first: then four of its five products have
the contracted axis last on the left, and the fifth gives the queries' gradient
transposed, which is small.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from attn.kernels.blockwise.bias import bias_tile, no_gradient
from attn.kernels.blockwise.forward import by_groups, finish, product
from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.tiles import (
    Block,
    Line,
    add,
    fold,
    put,
    read,
    read_groups,
    take,
    unread,
    visible,
)
from attn.masks import Tile

ROWS = 1024
"""Queries whose products with their cotangents are held at once."""


def row_sums(plan: Plan, d_out: Array, out: Array) -> Array:
    """Sums d_out * out over channels, some rows at a time: [B, T, N, V] to [B, T, N].

    XLA would hold the product of all rows.
    """

    def summed(d_out: Array, out: Array) -> Array:
        d_out, out = (x.astype(plan.accumulator_dtype) for x in (d_out, out))
        return (d_out * out).sum(axis=-1)

    def some(n, sums):
        rows = [(1, jnp.minimum(n * ROWS, plan.T - ROWS), ROWS)]
        return put(sums, summed(take(d_out, rows), take(out, rows)), rows)

    if plan.T <= ROWS:
        return summed(d_out, out)
    start = jnp.zeros_like(d_out[..., 0], plan.accumulator_dtype)
    return lax.fori_loop(0, -(-plan.T // ROWS), some, start)


def backward(plan: Plan, inputs, out: Array, lse: Array, d_out: Array, d_lse: Array, bias_moves: bool):  # fmt: skip
    """Computes gradients of q, k, v, the bias (None unless trained) and the sinks.

    Args:
        inputs: q, k, v, bias, sinks, infos as `forward` takes them.
        out, lse: its outputs.
        d_out, d_lse: cotangents of both.
        bias_moves: whether the gradient of the bias is required.
    """
    q, k, v, bias, sinks, _ = inputs
    B, K = q.shape[0], k.shape[2]
    delta = row_sums(plan, d_out, out)
    # Not `finite(out)`, which XLA would keep in memory.
    delta = finite(by_groups(delta, K))
    # d lse / d score is the weight itself, so its cotangent is added to the row's sum.
    delta = delta - jnp.where(lse == -jnp.inf, 0.0, d_lse)
    d_sinks = None if sinks is None else _sinks(sinks, lse, delta)
    of_rows = lse, delta, d_out
    steps = (B // plan.batch) * (K // plan.heads) * plan.columns.lines

    def column(step, grads):
        line = Line.of(plan, step, plan.columns.lines, K)
        width, length, _ = plan.backward
        at = line.keys(plan, line.index * width, width)
        k_tile, v_tile = (
            finite(read(x, at)).astype(plan.operand_dtype) for x in (k, v)
        )

        def tile(carry, first, kind):
            rows = line.queries(plan, first, length)
            return _tile(plan, inputs, of_rows, (k_tile, v_tile), rows, at, carry, kind)

        d_q, d_k, d_v, d_bias = grads
        zeros = (jnp.zeros_like(x, plan.accumulator_dtype) for x in (k_tile, v_tile))
        d_q, d_k_tile, d_v_tile, d_bias = fold(
            plan, plan.columns, line.index, tile, (d_q, *zeros, d_bias)
        )
        parts = at.slices(0, 1, 2)
        d_k = put(d_k, unread(d_k_tile * plan.of_scores), parts)
        return d_q, d_k, put(d_v, unread(d_v_tile), parts), d_bias

    d_bias = no_gradient(plan, bias) if bias_moves else None
    zeros = (
        jnp.zeros_like(q, plan.accumulator_dtype),
        jnp.zeros_like(k),
        jnp.zeros_like(v),
        d_bias,
    )
    d_q, d_k, d_v, d_bias = lax.fori_loop(0, steps, column, zeros)
    if bias_moves:
        d_bias = jax.tree.map(lambda d, x: d.astype(x.dtype), d_bias, bias)
    return d_q.astype(q.dtype), d_k, d_v, d_bias, d_sinks


def _tile(plan: Plan, inputs, rows, kv_tiles, at_q: Block, at_k: Block, carry, kind: Tile):  # fmt: skip
    """Adds the contribution of one tile to the gradients in `carry`."""
    q, _, _, bias, _, infos = inputs
    G = q.shape[2] // inputs[1].shape[2]
    lse, delta, d_out = rows
    k_tile, v_tile = kv_tiles
    d_q, d_k, d_v, d_bias = carry
    q_tile, d_tile = finite(read_groups(q, at_q, G)).astype(plan.operand_dtype) * plan.of_queries, read_groups(d_out, at_q, G).astype(plan.operand_dtype)  # fmt: skip
    lse, delta = (take(x, at_q.slices(0, 3, 1))[:, :, None] for x in (lse, delta))
    scores = product("bkdh,bkgch->bkdgc", plan, k_tile, q_tile)
    own, add_gradient = None, None
    if bias is not None:
        own, add_gradient = bias_tile(plan, bias, G, at_q, at_k, infos)
        own = jnp.moveaxis(own, -1, 2)
    scores = finish(plan, scores, own)
    # A query that saw nothing has the log-sum-exp -inf, and no weights.
    weights = jnp.exp(scores - jnp.where(lse == -jnp.inf, jnp.inf, lse))
    d_weights = product("bkdv,bkgcv->bkdgc", plan, v_tile, d_tile)
    d_scores = weights * (d_weights - delta)
    if plan.softcap is not None:
        d_scores = d_scores * (1.0 - (scores / plan.softcap) ** 2)
    seen = visible(plan, kind, at_q, at_k, infos, as_q, as_k)
    if seen is not None:
        weights, d_scores = (jnp.where(seen, x, 0) for x in (weights, d_scores))
    if d_bias is not None and add_gradient is not None:
        d_bias = add_gradient(d_bias, jnp.moveaxis(d_scores, 2, -1))
    weights, d_scores = (
        weights.astype(plan.operand_dtype),
        d_scores.astype(plan.operand_dtype),
    )
    d_v = d_v + product("bkdgc,bkgcv->bkdv", plan, weights, d_tile)
    d_k = d_k + product("bkdgc,bkgch->bkdh", plan, d_scores, q_tile)
    tile_d_q = product(
        "bkhd,bkdgc->bkhgc", plan, jnp.swapaxes(k_tile, -1, -2), d_scores
    )
    # [b, k, H, g, C] to [b, k, g, C, H].
    gain = unread(jnp.moveaxis(tile_d_q, 2, -1) * plan.scale)
    return add(d_q, gain, at_q.slices(0, 1, 2, G)), d_k, d_v, d_bias


def _sinks(sinks: Array, lse: Array, delta: Array) -> Array:
    """The gradient of the sinks, which take weight and add no value."""
    own = sinks.reshape(1, *lse.shape[1:3], 1)
    weights = jnp.exp(own.astype(lse.dtype) - lse)
    return -(weights * delta).sum(axis=(0, 3)).reshape(-1).astype(sinks.dtype)


def finite(x: Array) -> Array:
    """Replaces inf and NaN by 0; pairs that see them have NaN weights anyway."""
    return jnp.where(jnp.isfinite(x), x, 0)


def as_q(x: Array) -> Array:
    """Broadcasts [b, C] along the queries of [b, k, D, g, C]."""
    return x[:, None, None, None, :]


def as_k(x: Array) -> Array:
    """Broadcasts [b, D] along the keys of [b, k, D, g, C]."""
    return x[:, None, :, None, None]
