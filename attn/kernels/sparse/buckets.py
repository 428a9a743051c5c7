"""Hash buckets: the bucket of each token, and their chunks as tiles of queries and keys."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.sparse.order import stable_order


class Round(NamedTuple):
    """The layout of one hash round, or, with an axis more in front, of r rounds.

    Empty slots hold T, the index of no token.
    """

    of_q: Int[Array, "*r T"]
    of_k: Int[Array, "*r T"]
    """The bucket and its chunk as one number; numbers at most 1 apart share the
    bucket."""
    queries: Int[Array, "*r L C"]
    """The queries, in tiles of one chunk each."""
    keys: Int[Array, "*r L W"]
    """The keys that a tile of queries sees."""
    slots: Int[Array, "*r T"]
    """The index of each query in the tiles, flat."""


def hashes(
    x: Float[Array, "T H"], rotations: Float[Array, "r H B"], num: int
) -> Int[Array, "r T"]:
    """The bucket of every token in every round: the argmax of [x R; -x R]."""
    x, rotations = (lax.stop_gradient(a).astype(jnp.float32) for a in (x, rotations))
    rotated = jnp.einsum("th,rhb->rtb", x, rotations, precision=lax.Precision.HIGHEST)
    return jnp.concatenate([rotated, -rotated], axis=2)[:, :, :num].argmax(axis=2)


def most(T: int, parts: int, C: int) -> int:
    """The largest number of groups of C that T items in `parts` parts can fill."""
    return (T + parts * (C - 1)) // C


def begins(sizes: Int[Array, "n"]) -> Int[Array, "n"]:
    """The start of each part, where parts of these sizes are concatenated."""
    return jnp.cumsum(sizes) - sizes


def lay_out(
    of_q: Int[Array, "T"], of_k: Int[Array, "T"], num: int, C: int, ahead: int
) -> Round:
    """Splits buckets of keys into chunks, and queries into tiles of one chunk each.

    Keys of bucket `num` are in none.
    """
    T, M = len(of_q), most(len(of_q), num, C)
    position = jnp.arange(T)
    # Keys come first, so that one of the same bucket and position lies behind its query.
    order = stable_order(jnp.stack([of_k, of_q], axis=1).reshape(2 * T), num + 1)
    order = order // 2 + order % 2 * T
    keys_passed, queries_passed = (
        jnp.zeros(2 * T, position.dtype).at[order].set(jnp.cumsum(of_kind) - 1)
        for of_kind in (order < T, order >= T)
    )
    count = jnp.zeros(num + 1, position.dtype).at[of_k].add(1)
    lower, start = begins(count), begins(-(-count // C))
    ranks = keys_passed[:T] - lower[of_k]
    own_chunk = jnp.maximum(keys_passed[T:] - lower[of_q], 0) // C
    # An empty bucket has no chunk: its queries go to a chunk where they see no key.
    chunks = jnp.minimum(start[of_q] + own_chunk, M - 1)
    queries, first, slots = tiled(chunks, queries_passed[T:], M, C)

    # Keys of no bucket come last, and those beyond the last row are dropped.
    at = C + C * start[of_k] + ranks
    rows = jnp.full((1 + M + ahead) * C, T).at[at].set(position, mode="drop")
    keys = rows.reshape(-1, C)[first[:, None] + jnp.arange(2 + ahead)[None]]
    own = of_q * (M + 2) + own_chunk, of_k * (M + 2) + ranks // C
    return Round(*own, queries, keys.reshape(len(queries), -1), slots)


def tiled(
    chunks: Int[Array, "T"], ranks: Int[Array, "T"], M: int, C: int
) -> tuple[Int[Array, "L C"], Int[Array, "L"], Int[Array, "T"]]:
    """The tiles of queries, the chunk of each, and every query's slot in them.

    A chunk may have any number of queries, and has as many tiles as they need. `ranks`
    are those of the queries in order of their chunks.
    """
    T, L = len(chunks), most(len(chunks), M, C)
    count = jnp.zeros(M, chunks.dtype).at[chunks].add(1)
    slots = ranks + (C * begins(-(-count // C)) - begins(count))[chunks]
    queries = jnp.full(L * C, T).at[slots].set(jnp.arange(T)).reshape(L, C)
    return queries, jnp.zeros(L, chunks.dtype).at[slots // C].set(chunks), slots
