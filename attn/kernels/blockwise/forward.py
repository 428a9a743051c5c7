"""The forward pass: online softmax over rows of tiles."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attn.kernels.blockwise.bias import Bias, bias_tile
from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.tiles import (
    Block,
    Infos,
    Line,
    fold,
    put,
    read,
    read_groups,
    take,
    unread,
    visible,
)
from attn.kernels.maximum import row_max
from attn.masks import Tile


def forward(
    plan: Plan,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    bias: Bias | None,
    sinks: Float[Array, "N"] | None,
    infos: Infos,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B K G T"]]:
    """Computes the output, in the dtype of `v`, and the log-sum-exp."""
    B, K = q.shape[0], k.shape[2]
    G = q.shape[2] // K

    def row(step, carry):
        out, lse = carry
        line = Line.of(plan, step, plan.rows.lines, K)
        width = plan.forward.line
        at = line.queries(plan, line.index * width, width)
        q_tile = read_groups(q, at, G).astype(plan.operand_dtype) * plan.of_queries
        tile = partial(_tile, plan, q_tile, k, v, bias, infos, line, at)
        zero = jnp.zeros_like(q_tile[..., 0], plan.accumulator_dtype)
        wide = jnp.broadcast_to(zero[..., None], (*zero.shape, v.shape[-1]))
        sums = fold(plan, plan.rows, line.index, tile, (zero - jnp.inf, zero, wide))  # fmt: skip
        sink = None if sinks is None else take(sinks, at.slices(None, None, 0, G))
        share, own = _finish(sums, sink)
        return (
            put(out, unread(share), at.slices(0, 1, 2, G)),
            put(lse, own, at.slices(0, 3, 1)),
        )

    start = jnp.zeros_like(q[..., :1], v.dtype)
    out = jnp.broadcast_to(start, (*q.shape[:-1], v.shape[-1]))
    lse = by_groups(jnp.zeros_like(q[..., 0], plan.accumulator_dtype), K)
    steps = (B // plan.batch) * (K // plan.heads) * plan.rows.lines
    return lax.fori_loop(0, steps, row, (out, lse))


def _tile(plan: Plan, q_tile, k, v, bias, infos, line: Line, rows: Block, carry, first, kind: Tile):  # fmt: skip
    """Adds one tile to the running maximum, sum of weights and sum of values."""
    columns = line.keys(plan, first, plan.forward.tile)
    top, total, out = carry
    k_tile, v_tile = (read(x, columns).astype(plan.operand_dtype) for x in (k, v))
    scores = product("bkgch,bkdh->bkgcd", plan, q_tile, k_tile)
    G = q_tile.shape[2]
    own = None if bias is None else bias_tile(plan, bias, G, rows, columns, infos)[0]
    scores = finish(plan, scores, own)
    hit, seen = None, visible(plan, kind, rows, columns, infos, as_q, as_k)
    if seen is not None:
        scores = jnp.where(seen, scores, -jnp.inf)
        v_tile, hit = hide_infinite(v_tile, seen)
    new_top = jnp.maximum(top, row_max(scores))
    shift = jnp.where(new_top == -jnp.inf, 0.0, new_top)
    weights = jnp.exp(scores - shift[..., None])
    fade = jnp.exp(top - shift)
    gain = product(
        "bkgcd,bkdv->bkgcv", plan, weights.astype(plan.operand_dtype), v_tile
    )
    if hit is not None:
        gain = jnp.where(hit[..., None], jnp.nan, gain)
    total = total * fade + weights.sum(axis=-1)
    return new_top, total, out * fade[..., None] + gain


def _finish(sums, sinks):
    """Computes the output and log-sum-exp of a finished row of tiles."""
    top, total, out = sums
    if sinks is not None:
        sinks = sinks.reshape(1, *top.shape[1:3], 1).astype(top.dtype)
        new_top = jnp.maximum(top, sinks)
        fade = jnp.exp(top - new_top)
        total = total * fade + jnp.exp(sinks - new_top)
        top, out = new_top, out * fade[..., None]
    empty = total == 0
    total = jnp.where(empty, 1.0, total)
    return out / total[..., None], jnp.where(empty, -jnp.inf, top + jnp.log(total))


def by_groups(x: Array, K: int) -> Array:
    """Splits the heads: [B, T, N] to [B, K, G, T]."""
    B, T, N = x.shape
    return jnp.moveaxis(x.reshape(B, T, K, N // K), 1, -1)


def product(equation: str, plan: Plan, a: Array, b: Array) -> Array:
    """Multiplies matrices, with sums in `plan.accumulator_dtype`."""
    return jnp.einsum(equation, a, b, preferred_element_type=plan.accumulator_dtype)


def finish(plan: Plan, products: Array, bias: Array | None) -> Array:
    """Makes scores of q k products: scaled, biased, capped."""
    scores = products if plan.of_scores == 1.0 else products * plan.of_scores
    if bias is not None:
        scores = scores + bias
    if plan.softcap is not None:
        scores = plan.softcap * jnp.tanh(scores / plan.softcap)
    return scores


def as_q(x: Array) -> Array:
    """Broadcasts [b, C] along the queries of [b, k, g, C, D]."""
    return x[:, None, None, :, None]


def as_k(x: Array) -> Array:
    """Broadcasts [b, D] along the keys of [b, k, g, C, D]."""
    return x[:, None, None, None, :]


def hide_infinite(v_tile: Array, seen: Array) -> tuple[Array, Array]:
    """Zeroes inf and NaN in values, and says which queries see one: 0 * inf is NaN.

    As many rows are told as `seen` has, which broadcasts to the tile.
    """
    bad = ~jnp.isfinite(v_tile)
    hit = seen & bad.any(axis=-1)[:, :, None, None, :]
    return jnp.where(bad, 0, v_tile), hit.any(axis=-1)
