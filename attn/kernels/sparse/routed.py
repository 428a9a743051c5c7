"""Softmax over key blocks that each query chooses at run time.

The T × J pairs of a query and a block are sorted by block and split into tiles of one
block against C queries. A block has at most one tile that is not full, so T J / C + M
tiles suffice whatever is chosen: shapes are static, and the time is O(T J block).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.kernels.base import matmul_flops, sums_dtype
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import clean
from attn.kernels.sparse.order import inverse, stable_order
from attn.masks import Mask

GROUP = 32 * 64 * 64
"""The number of scores computed at once, at most, unless one tile has more."""


class Tiles(NamedTuple):
    """The pairs of queries and chosen blocks, as n groups of g tiles of C queries."""

    block: Int[Array, "n g"]
    query: Int[Array, "n g C"]
    filled: Bool[Array, "n g C"]
    pick_index: Int[Array, "T J"]
    """The index of each pick among all n g C; -1 for no pick."""


def tile_sizes(T: int, S: int, J: int, block: int) -> tuple[int, int, int]:
    """The number of groups n, of tiles a group g, and of queries a tile C."""
    C = min(max(block, 16), 128)
    total = T * J // C + -(-S // block)
    n = -(-total // max(GROUP // (C * block), 1))
    return n, -(-total // n), C


def routed_flops(T: int, S: int, J: int, block: int, H: int, Hv: int) -> float:
    """FLOPs of `routed_attention`, forward, empty tiles included."""
    n, g, C = tile_sizes(T, S, J, block)
    return matmul_flops(n * g * C, block, H + Hv + 1)


def routed_attention(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    v: Float[Array, "S Hv"],
    chosen: Int[Array, "T J"],
    *,
    block: int,
    mask: Mask,
    scale: float | None = None,
    kv_ids: Int[Array, "S"] | None = None,
) -> tuple[Float[Array, "T Hv"], Float[Array, "T"]]:
    """Computes softmax attention of each query over the blocks that it chose.

    Args:
        q, k, v: queries, keys and values.
        chosen: indices of key blocks, all different in a row; -1 for none.
        block: keys of a block.
        mask: what may be seen of the blocks.
        scale: of the scores; H ** -0.5 unless given.
        kv_ids: below 0 where a key is padding.

    Returns:
        The output and the log-sum-exp of the scores, at least float32. A query that
        sees nothing gives 0 and -inf. A value of inf or NaN reaches the queries that
            see
        it, and no others.
    """
    S, H = k.shape
    tiles = make_tiles(chosen, S, block)
    real = jnp.ones(S, bool) if kv_ids is None else kv_ids >= 0
    # Always true; under a mesh the array must be sharded by heads as its indices are.
    real = real & (chosen.max() >= -1)
    v = clean(v, kv_ids)
    # 0 times inf is NaN, so such values are counted in a column of their own.
    bad = ~jnp.isfinite(v)
    count = bad.any(axis=1, keepdims=True).astype(v.dtype)
    v = jnp.concatenate([jnp.where(bad, 0, v), count], axis=1)
    out, lse = _attend(
        mask,
        H**-0.5 if scale is None else scale,
        q,
        in_chunks(clean(k, kv_ids), block),
        in_chunks(v, block),
        in_chunks(real, block),
        tiles,
    )
    return jnp.where(out[:, -1:] > 0, jnp.nan, out[:, :-1]), lse


def make_tiles(chosen: Int[Array, "T J"], S: int, block: int) -> Tiles:
    """Sorts pairs by block; every block starts a new tile."""
    (T, J), M = chosen.shape, -(-S // block)
    n, g, C = tile_sizes(T, S, J, block)
    picks = jnp.where(chosen < 0, M, chosen).reshape(T * J)
    order = stable_order(picks, M + 1)
    rank = inverse(order)
    # The first pair of each block and the number of pairs; its tiles are first .. last.
    size = jnp.zeros(M + 1, jnp.int32).at[picks].add(1)
    start, size = jnp.cumsum(size) - size, size[:M]
    last = jnp.cumsum(-(-size // C))
    first = last + (-size // C)
    tile = jnp.arange(n * g)
    over = jnp.zeros(n * g + 1, jnp.int32).at[last].add(1)
    own = jnp.minimum(jnp.cumsum(over)[:-1], M - 1)
    within = (tile - first[own])[:, None] * C + jnp.arange(C)[None]
    pair = order[jnp.minimum(start[own][:, None] + within, T * J - 1)]
    known = jnp.minimum(picks, M - 1)
    pick_index = jnp.where(picks < M, first[known] * C + rank - start[known], -1)
    return Tiles(
        own.reshape(n, g),
        (pair // J).reshape(n, g, C),
        (within < size[own][:, None]).reshape(n, g, C),
        pick_index.reshape(T, J),
    )


def _sums(mask, scale, q, k, v, real, tiles) -> tuple[Array, Array]:
    """Computes out [T, Hv] and lse [T] over k [M, block, H] and v [M, block, Hv]."""

    def partial_sums(group):
        scores = _scores(mask, scale, q, k, real, group)[0]
        top = scores.max(axis=-1)
        weights = jnp.exp(scores - jnp.where(top == -jnp.inf, 0.0, top)[..., None])
        values = v[group[0]]
        sums = _einsum("gcd,gdv->gcv", weights.astype(v.dtype), values)
        return sums, weights.sum(axis=-1), top

    sums, totals, tops = lax.map(partial_sums, tiles[:3])
    top = jnp.where(tiles.pick_index < 0, -jnp.inf, tops.reshape(-1)[tiles.pick_index])
    highest = top.max(axis=1, keepdims=True)
    share = jnp.exp(top - jnp.where(highest == -jnp.inf, 0.0, highest))
    total = (share * totals.reshape(-1)[tiles.pick_index]).sum(axis=1)
    blind = total == 0
    parts = sums.reshape(-1, v.shape[-1])[tiles.pick_index]
    out = jnp.einsum("tj,tjv->tv", share, parts)
    out = out / jnp.where(blind, 1.0, total)[:, None]
    lse = jnp.log(jnp.where(blind, 1.0, total)) + highest[:, 0]
    return out, lse


def _scores(mask, scale, q, k, real, group):
    """The scores of a group of tiles [g, C, block], -inf where hidden; its q and k."""
    block, query, filled = group
    B = k.shape[1]
    queries, keys = q[query], k[block]
    k_index = block[:, None] * B + jnp.arange(B)[None]
    seen = mask.predicate(query[:, :, None], k_index[:, None, :])
    seen = seen & real[block][:, None, :] & filled[:, :, None]
    scores = _einsum("gch,gdh->gcd", queries, keys) * scale
    return jnp.where(seen, scores, -jnp.inf), queries, keys


def _forward(mask, scale, q, k, v, real, tiles):
    out, lse = _sums(mask, scale, q, k, v, real, tiles)
    return (out, lse), (q, k, v, real, tiles, out, lse)


def _backward(mask, scale, kept, cotangents):
    """The backward pass; recomputes scores, so that O(T J block) are never stored."""
    q, k, v, real, tiles, out, lse = kept
    d_out, d_lse = cotangents
    # The term that the gradients of a query's scores have in common.
    level = d_lse - (d_out * out).sum(axis=1)
    known = jnp.where(lse == -jnp.inf, 0.0, lse)

    def gradients(group):
        block, query, _ = group
        scores, queries, keys = _scores(mask, scale, q, k, real, group)
        weights = jnp.exp(scores - known[query][..., None])
        d_values = d_out[query].astype(v.dtype)
        d_weights = _einsum("gcv,gdv->gcd", d_values, v[block])
        d_scores = weights * (d_weights + level[query][..., None]) * scale
        d_scores = d_scores.astype(q.dtype)
        return (
            _einsum("gcd,gdh->gch", d_scores, keys),
            _einsum("gcd,gch->gdh", d_scores, queries),
            _einsum("gcd,gcv->gdv", weights.astype(v.dtype), d_values),
        )

    d_q, d_k, d_v = lax.map(gradients, tiles[:3])
    d_q = d_q.reshape(-1, q.shape[1])[tiles.pick_index]
    d_q = jnp.where(tiles.pick_index[..., None] < 0, 0.0, d_q).sum(axis=1)
    own = tiles.block.reshape(-1)

    def by_block(tiles, like):
        sums = jnp.zeros(like.shape, tiles.dtype)
        sums = sums.at[own].add(tiles.reshape(-1, *like.shape[1:]))
        return sums.astype(like.dtype)

    return d_q.astype(q.dtype), by_block(d_k, k), by_block(d_v, v), None, None


_attend = jax.custom_vjp(_sums, nondiff_argnums=(0, 1))
_attend.defvjp(_forward, _backward)


def _einsum(spec: str, a: Array, b: Array) -> Array:
    return jnp.einsum(spec, a, b, preferred_element_type=sums_dtype(a))
