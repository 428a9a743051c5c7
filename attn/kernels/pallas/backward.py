"""The backward kernels: queries' gradients by rows of tiles, keys' and values' by columns.

Both compute the weights again from the log-sum-exp (Dao et al. 2022, algorithm 4). Two
passes take 7 products a tile where one would take 5, and leave no partial gradients:
memory is O(T + S), and sums have one order, so the same call gives the same bits.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from attn.kernels.pallas.grid import At, Grid, Output
from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile import product, scores_of, visible, visit
from attn.kernels.pallas.tile_list import FIRST, LAST


def queries_gradient(
    plan: Plan, inputs: Inputs, lse: Array, delta: Array, d_out: Array
) -> Float[Array, "B N T H"]:
    """Computes the gradient of the queries.

    Args:
        lse: the log-sum-exp, [B, N, 1, T].
        delta: sum over channels of `d_out` * out, less the gradient of `lse`; likewise.
        d_out: the gradient of the output, [B, N, T, V].
    """
    grid = Grid.of(plan, inputs, of_rows=True)
    H, V = inputs.q.shape[-1], inputs.v.shape[-1]
    outputs, sums = [_like(inputs.q, grid.queries(H))], [(H, plan.q_block)]
    rows = lse, delta, d_out
    return grid.run(attention_queries, inputs, rows, outputs, sums, 2 * H + V)[0]


def keys_gradients(
    plan: Plan, inputs: Inputs, lse: Array, delta: Array, d_out: Array
) -> tuple[Float[Array, "B K S H"], Float[Array, "B K S V"]]:
    """Computes the gradients of the keys and the values; arguments as above."""
    grid = Grid.of(plan, inputs, of_rows=False)
    H, V = inputs.k.shape[-1], inputs.v.shape[-1]
    outputs = _like(inputs.k, grid.keys(H)), _like(inputs.v, grid.keys(V))
    sums = [(plan.k_block, H), (plan.k_block, V)]
    rows = lse, delta, d_out
    return grid.run(attention_keys, inputs, rows, outputs, sums, 2 * H + 2 * V)


def _like(x: Array, spec: pl.BlockSpec) -> Output:
    return Output(jax.ShapeDtypeStruct(x.shape, x.dtype), spec)


def attention_queries(grid: Grid, places, notes, inputs, table, rows, d_q, acc):
    """Visits one tile of a row for the gradient of its queries."""
    ids = [pl.program_id(axis) for axis in range(3)]
    at, note = grid.at(*ids, places, notes), notes[ids[2]]

    @pl.when((note & FIRST) != 0)
    def _():
        acc[...] = jnp.zeros_like(acc)

    def add(masked: bool) -> None:
        _, d_scores = _gradients(grid.plan, at, note, inputs, table, rows, masked)
        k = inputs.k[...]
        acc[...] += product(k, d_scores.astype(k.dtype), 0, 0)

    visit(grid.plan, note, add)

    @pl.when((note & LAST) != 0)
    def _():
        d_q[...] = (acc[...] * grid.plan.scale).T.astype(d_q.dtype)


def attention_keys(grid: Grid, places, notes, inputs, table, rows, d_k, d_v, acc_k, acc_v):  # fmt: skip
    """Visits one tile of a column for the gradients of its keys and values."""
    ids = [pl.program_id(axis) for axis in range(4)]
    at, note = grid.at(*ids, places, notes), notes[ids[2]]

    @pl.when(((note & FIRST) != 0) & (ids[3] == 0))
    def _():
        acc_k[...] = jnp.zeros_like(acc_k)
        acc_v[...] = jnp.zeros_like(acc_v)

    def add(masked: bool) -> None:
        weights, d_scores = _gradients(grid.plan, at, note, inputs, table, rows, masked)
        q, d_out = inputs.q[...], rows[2][...]
        acc_v[...] += product(weights.astype(q.dtype), d_out, 1, 0)
        acc_k[...] += product(d_scores.astype(q.dtype), q, 1, 0)

    visit(grid.plan, note, add)

    @pl.when(((note & LAST) != 0) & (ids[3] == grid.N // grid.K - 1))
    def _():
        d_k[...] = (acc_k[...] * grid.plan.scale).astype(d_k.dtype)
        d_v[...] = acc_v[...].astype(d_v.dtype)


def _gradients(plan: Plan, at: At, note, inputs: Inputs, table, rows, masked: bool):
    """The weights of a tile, and the gradient of its scores before they are scaled."""
    lse, delta, d_out = (x[...] for x in rows)
    scores = scores_of(plan, inputs.q[...], inputs.k[...])
    # A query that saw nothing has the log-sum-exp -inf, and no weights.
    weights = jnp.exp(scores - jnp.where(lse == -jnp.inf, jnp.inf, lse))
    if masked:
        weights = jnp.where(visible(plan, at, note, inputs, table), weights, 0.0)
    d_scores = weights * (product(inputs.v[...], d_out, 1, 1) - delta)
    if plan.softcap is not None:
        d_scores = d_scores * (1.0 - (scores / plan.softcap) ** 2)
    return weights, d_scores
