"""Softmax attention in O(T) memory: tile by tile over a mask's schedule.

The forward pass keeps a running maximum and sum for each query (Milakov and
Gimelshein 2018; Rabe and Staats 2021); the backward pass computes the scores again
from the log-sum-exp (Dao et al. 2022, algorithm 4). Tiles that the mask hides are
never visited, and tiles that it shows whole are not masked.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.dense import clean, visible
from attn.masks import Mask, Schedule, Tile, mask_schedule

BLOCK = 512


@dataclass(frozen=True)
class Plan:
    """What is known before any array: hashable, so one trace serves every call."""

    mask: Mask
    scale: float
    T: int
    S: int
    C: int
    """Queries and keys a block."""
    ids: bool
    """Whether the caller gave segment ids or padding, so that every tile is masked."""


def blockwise_attention(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    *,
    mask: Mask,
    scale: float | None = None,
    q_ids: Int[Array, "T"] | None = None,
    kv_ids: Int[Array, "S"] | None = None,
    block: int = BLOCK,
) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
    """`dense_attention` in O(T + S) memory, without the bias.

    Args:
        block: queries and keys a tile; cut to the text where that is shorter.

    Returns:
        The output, in the dtype of `v`, and the float32 log-sum-exp of the scores,
        both differentiable. A query that sees nothing gives 0 and -inf.
    """
    T, S = q.shape[0], k.shape[0]
    C = min(block, max(T, S))
    scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
    plan = Plan(mask, scale, T, S, C, ids=kv_ids is not None)
    k, v = clean(k, kv_ids), clean(v, kv_ids)
    # Padding of the last block counts as a segment of its own, seen by nobody.
    q_ids = jnp.zeros(T, jnp.int32) if q_ids is None else q_ids
    kv_ids = jnp.zeros(S, jnp.int32) if kv_ids is None else kv_ids
    q_ids, kv_ids = _blocks(q_ids, C, fill=-2), _blocks(kv_ids, C, fill=-1)
    blocks = (_blocks(x, C) for x in (q, k, v))
    out, lse = _attention(plan, *blocks, q_ids, kv_ids)  # pyright: ignore[reportGeneralTypeIssues]
    return out.reshape(-1, v.shape[-1])[:T], lse.reshape(-1)[:T]


def _blocks(x: Array, C: int, fill: int = 0) -> Array:
    """[T, ...] to [blocks, C, ...], the last block filled up."""
    pad = [(0, -x.shape[0] % C)] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, pad, constant_values=fill).reshape(-1, C, *x.shape[1:])


def _schedule(plan: Plan) -> Schedule:
    schedule = mask_schedule(plan.mask, plan.T, plan.S, plan.C, plan.C)
    kinds = schedule.kinds.copy()
    # A block with filling must be masked, even where the mask shows all of it.
    if plan.T % plan.C:
        kinds[-1] = kinds[-1].clip(max=Tile.PARTIAL)
    if plan.S % plan.C:
        kinds[:, -1] = kinds[:, -1].clip(max=Tile.PARTIAL)
    return Schedule(kinds)


def _walk(plan: Plan, i: Array, tiles, body, carry):
    """Folds `body(carry, j, masked)` over the tiles of row or column `i`."""
    for kind in (Tile.FULL, Tile.PARTIAL):
        pointers, indices = tiles(kind)
        if indices.size == 0:
            continue
        pointers, indices = jnp.asarray(pointers), jnp.asarray(indices)

        def step(n, carry, indices=indices, kind=kind):
            return body(carry, indices[n], kind is Tile.PARTIAL)

        carry = lax.fori_loop(pointers[i], pointers[i + 1], step, carry)
    return carry


def _scores(plan: Plan, q, k, q_ids, kv_ids, i, j, masked: bool):
    """Scaled float32 scores of one tile, -inf where hidden."""
    scores = jnp.einsum("ch,dh->cd", q, k, preferred_element_type=jnp.float32)
    scores = scores * plan.scale
    if masked or plan.ids:
        place = jnp.arange(plan.C)
        seen = visible(plan.mask, i * plan.C + place, j * plan.C + place, q_ids, kv_ids)
        scores = jnp.where(seen, scores, -jnp.inf)
    return scores


def _all_rows(plan: Plan, q, k, v, q_ids, kv_ids) -> tuple[Array, Array]:
    """Blocks [M, C, ...] in; out [M, C, Hv] and log-sum-exp [M, C]."""
    tiles = _schedule(plan).rows

    def row(block):
        i, q_i, ids_i = block

        def body(carry, j, masked):
            top, total, out = carry
            scores = _scores(plan, q_i, k[j], ids_i, kv_ids[j], i, j, masked)
            new_top = jnp.maximum(top, scores.max(axis=-1))
            shift = jnp.where(new_top == -jnp.inf, 0.0, new_top)
            weights = jnp.exp(scores - shift[:, None])
            fade = jnp.exp(top - shift)
            gain = jnp.einsum(
                "cd,dv->cv",
                weights.astype(v.dtype),
                v[j],
                preferred_element_type=jnp.float32,
            )
            total = total * fade + weights.sum(axis=-1)
            return new_top, total, out * fade[:, None] + gain

        zero = jnp.zeros_like(q_i[:, 0], jnp.float32)
        wide = jnp.broadcast_to(zero[:, None], (plan.C, v.shape[-1]))
        top, total, out = _walk(plan, i, tiles, body, (zero - jnp.inf, zero, wide))
        empty = total == 0
        total = jnp.where(empty, 1.0, total)
        lse = jnp.where(empty, -jnp.inf, top + jnp.log(total))
        return (out / total[:, None]).astype(v.dtype), lse

    return lax.map(row, (jnp.arange(q.shape[0]), q, q_ids))


_attention = jax.custom_vjp(_all_rows, nondiff_argnums=(0,))


def _forward(plan: Plan, q, k, v, q_ids, kv_ids):
    out, lse = _attention(plan, q, k, v, q_ids, kv_ids)  # pyright: ignore[reportGeneralTypeIssues]
    return (out, lse), (q, k, v, q_ids, kv_ids, out, lse)


def _backward(plan: Plan, saved, cotangents):
    q, k, v, q_ids, kv_ids, out, lse = saved
    d_out, d_lse = cotangents
    schedule = _schedule(plan)
    # d lse / d score is the weight itself, so its cotangent joins the row's own sum.
    delta = jnp.einsum("mcv,mcv->mc", d_out, out, preferred_element_type=jnp.float32)
    delta = delta - jnp.where(lse == -jnp.inf, 0.0, d_lse)
    lse = jnp.where(lse == -jnp.inf, jnp.inf, lse)

    def tile(i, j, masked):
        """Weights of tile (i, j) and the cotangents of its scores, float32 [C, C]."""
        scores = _scores(plan, q[i], k[j], q_ids[i], kv_ids[j], i, j, masked)
        weights = jnp.exp(scores - lse[i][:, None])
        d_weights = jnp.einsum(
            "cv,dv->cd", d_out[i], v[j], preferred_element_type=jnp.float32
        )
        return weights, weights * (d_weights - delta[i][:, None]) * plan.scale

    def row(i):
        def body(d_q, j, masked):
            _, d_scores = tile(i, j, masked)
            return d_q + jnp.einsum(
                "cd,dh->ch",
                d_scores.astype(k.dtype),
                k[j],
                preferred_element_type=jnp.float32,
            )

        zero = jnp.zeros_like(q[0], jnp.float32)
        return _walk(plan, i, schedule.rows, body, zero).astype(q.dtype)

    def column(j):
        def body(carry, i, masked):
            weights, d_scores = tile(i, j, masked)
            d_k = jnp.einsum(
                "cd,ch->dh",
                d_scores.astype(q.dtype),
                q[i],
                preferred_element_type=jnp.float32,
            )
            d_v = jnp.einsum(
                "cd,cv->dv",
                weights.astype(v.dtype),
                d_out[i],
                preferred_element_type=jnp.float32,
            )
            return carry[0] + d_k, carry[1] + d_v

        zero = jnp.zeros_like(k[0], jnp.float32), jnp.zeros_like(v[0], jnp.float32)
        d_k, d_v = _walk(plan, j, schedule.columns, body, zero)
        return d_k.astype(k.dtype), d_v.astype(v.dtype)

    d_q = lax.map(row, jnp.arange(q.shape[0]))
    d_k, d_v = lax.map(column, jnp.arange(k.shape[0]))
    return d_q, d_k, d_v, None, None


_attention.defvjp(_forward, _backward)
