"""Selection of the k largest numbers of a row, in time that does not depend on k.

Not `lax.top_k`, which on a mesh gathers all rows on each device. What is here counts
and gathers within a row, so a mesh divides it as it divides the rows.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt

ABSENT = -1
WORD = 32
"""Bits of a word."""


def positions_of_largest(x: Float[Array, "C S"], k: int) -> Int[Array, "C K"]:
    """The positions of the k largest of each row, in order; of ties, the first.

    `ABSENT` in place of what is -inf. A NaN is the largest, as it is for `lax.top_k`.
    """
    taken = among_largest(x, k) & (x != -jnp.inf)
    return positions_of(taken, min(k, x.shape[1]))


def num_bits(S: int) -> int:
    """The number of counting passes over S float32 numbers to find the largest."""
    return 32 + S.bit_length()


def among_largest(x: Float[Array, "C S"], k: int) -> Bool[Array, "C S"]:
    """Selects exactly k largest numbers of each row; of ties, the first.

    Bisects, bit by bit, for the k-th largest number, and then for the position up to
    which numbers equal to it are taken.
    """
    S, k = x.shape[1], min(k, x.shape[1])
    rank = as_integers(x)
    info = jnp.iinfo(rank.dtype)
    lowest = jnp.full_like(rank[:, 0], info.min)
    bound = by_bits(lowest, info.bits, lambda low: count(rank >= low[:, None]) >= k)
    above, upon = rank > bound[:, None], rank == bound[:, None]
    left = k - count(above)
    position = jnp.arange(S, dtype=rank.dtype)[None, :]
    end = by_bits(
        jnp.zeros_like(lowest),
        S.bit_length(),
        lambda end: count(upon & (position < end[:, None])) <= left,
    )
    return above | (upon & (position < end[:, None]))


def as_integers(x: Float[Array, "C S"]) -> Int[Array, "C S"]:
    """Maps floats to integers of the same order, in which NaN is the largest."""
    whole = lax.bitcast_convert_type(x, f"int{jnp.finfo(x.dtype).bits}")
    most = jnp.iinfo(whole.dtype).max
    # The order of the bits of negative floats is reversed; -0 equals 0.
    ordered = jnp.where(whole < 0, (whole ^ most) + 1, whole)
    return jnp.where(jnp.isnan(x), most, ordered)


def by_bits(
    start: Int[Array, "C"], width: int, holds: Callable[[Array], Array]
) -> Int[Array, "C"]:
    """The largest of start .. start + 2^width - 1 where monotone `holds` is true."""

    def refine(n, low):
        more = low + (jnp.ones_like(low) << (width - 1 - n).astype(low.dtype))
        return jnp.where(holds(more), more, low)

    return lax.fori_loop(0, width, refine, start)


def count(x: Bool[Array, "C S"]) -> Float[Array, "C"]:
    """Counts the True values of rows; float sums are faster, and exact below 2^24."""
    return x.astype(jnp.float32).sum(axis=1)


def positions_of(taken: Bool[Array, "C S"], k: int) -> Int[Array, "C K"]:
    """The positions of the first k True values of rows; `ABSENT` beyond them."""
    C, S = taken.shape
    bits = jnp.pad(taken, ((0, 0), (0, -S % WORD))).reshape(C, -1, WORD)
    each = jnp.left_shift(jnp.uint32(1), jnp.arange(WORD, dtype=jnp.uint32))
    words = jnp.where(bits, each[None, None, :], 0).sum(axis=2, dtype=jnp.uint32)
    ends = lax.population_count(words).astype(jnp.int32).cumsum(axis=1)
    wanted = jnp.broadcast_to(jnp.arange(k), (C, k))
    own = (ends[:, None, :] <= wanted[:, :, None]).sum(axis=2)
    last = jnp.minimum(own, ends.shape[1] - 1)
    before = jnp.where(own == 0, 0, jnp.take_along_axis(ends, last - (own > 0), axis=1))
    word = jnp.take_along_axis(words, last, axis=1)
    position = last * WORD + nth_bit(word, wanted - before)
    return jnp.where(wanted < ends[:, -1:], position, ABSENT)


def nth_bit(word: UInt[Array, "C K"], n: Int[Array, "C K"]) -> Int[Array, "C K"]:
    """The position of the n-th set bit of a word, from 0, by bisection."""
    position, half = jnp.zeros_like(n), WORD // 2
    while half:
        low = word & jnp.uint32(2**half - 1)
        inside = lax.population_count(low).astype(n.dtype)
        beyond = inside <= n
        n = jnp.where(beyond, n - inside, n)
        position = jnp.where(beyond, position + half, position)
        word = jnp.where(beyond, word >> half, low)
        half //= 2
    return position
