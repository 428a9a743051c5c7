"""Sums as in `linear_state`, for positive features given by their logarithms.

Row t is the sum of exp(log_q[t, r] + log_k[s, r]) values[s] over r and s, times a
factor of its own that normalising cancels. Each sum over keys of one feature is kept
relative to the largest of those keys, m_r, which moves to the query as exp(log_q +
m_r): so no factor is above 1, the largest term of a row is 1, and what underflows is
below the rounding of the row. Where all keys are seen m_r is over all keys. Under a
causal mask no later key may enter it: it runs along the tokens (`recurrent`), or
belongs to a block of keys that every query behind the block sees whole.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from attn.kernels.lowrank import linear_state
from attn.kernels.lowrank.linear_state import fit

PAIRS = 4
"""The tokens of a block that is scored pair by pair: products of so few are slow."""

State = tuple[Float[Array, "R"], Float[Array, "R U"]]
"""The largest logarithm of each feature so far, and the sums relative to it."""


def begin(R: int, U: int) -> State:
    """The state before the first key, in float32."""
    return jnp.full(R, jnp.finfo("float32").min, "float32"), jnp.zeros((R, U))


def fold(
    state: State, log_k: Float[Array, "R"], value: Float[Array, "U"]
) -> tuple[Float[Array, "R"], Float[Array, "R U"]]:
    """Adds one key to the state."""
    top, sums = state
    new = lax.stop_gradient(jnp.maximum(top, log_k))
    fade, share = jnp.exp(top - new)[:, None], jnp.exp(log_k - new)[:, None]
    return new, sums * fade + share * value[None, :]


def add(first: State, second: State) -> tuple[Float[Array, "R"], Float[Array, "R U"]]:
    """The state after the keys of two states."""
    (a, x), (b, y) = first, second
    top = lax.stop_gradient(jnp.maximum(a, b))
    return top, x * jnp.exp(a - top)[:, None] + y * jnp.exp(b - top)[:, None]


def unfold(state: State, log_q: Float[Array, "*T R"]) -> Float[Array, "*T U"]:
    """Computes the rows of queries from the state."""
    top, sums = state
    return _over_largest(log_q + jnp.broadcast_to(top, log_q.shape)) @ sums


def absorb(
    log_k: Float[Array, "S R"], values: Float[Array, "S U"]
) -> tuple[Float[Array, "R"], Float[Array, "R U"]]:
    """The state after all keys."""
    top = _largest(log_k)
    return top[0], jnp.exp(log_k - top).T @ values


def parallel(
    log_q: Float[Array, "T R"],
    log_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
) -> Float[Array, "T U"]:
    """Computes the sums from the map, or its blocks below the diagonal, in O(T S)."""
    if not causal:
        return linear_state.parallel(*_all_seen(log_q, log_k), values, False)
    log_q, log_k, values = _fit_causal(log_q, log_k, values)
    return _inside(log_q[None], log_k[None], values[None])[0]


def recurrent(
    log_q: Float[Array, "T R"],
    log_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
) -> Float[Array, "T U"]:
    """Computes the sums token by token; the gradient keeps the state of every token."""
    if not causal:
        return linear_state.recurrent(*_all_seen(log_q, log_k), values, False)

    def step(state, token):
        log_q, log_k, value = token
        state = fold(state, log_k, value)
        return state, unfold(state, log_q)

    (T, R), U = log_q.shape, values.shape[1]
    top = jnp.full_like(log_q[0], _lowest(log_q))
    empty = top, jnp.zeros((R, U), values.dtype)
    return lax.scan(step, empty, (log_q, fit(log_k, T, -jnp.inf), fit(values, T)))[1]


def chunked(
    log_q: Float[Array, "T R"],
    log_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
    size: int,
    state: State | None = None,
) -> Float[Array, "T U"]:
    """Computes the sums chunk by chunk; earlier chunks arrive in one state.

    Args:
        state: of keys before the first, which every query sees.
    """
    if not causal:
        return linear_state.chunked(*_all_seen(log_q, log_k), values, False, size)
    log_q, log_k, values = _fit_causal(log_q, log_k, values, state)
    earlier = 0.0
    if state is not None:
        earlier = jnp.exp(log_q + state[0][None]) @ state[1]
    T = log_q.shape[0]
    C = min(size, T)
    M = -(-T // C)
    log_q, log_k, values = (
        fit(x, M * C, fill).reshape(M, C, x.shape[1])
        for x, fill in ((log_q, -jnp.inf), (log_k, -jnp.inf), (values, 0.0))
    )
    top, states = _before(log_k, values)
    sums = jnp.einsum("mcr,mru->mcu", jnp.exp(log_q + top), states)
    sums = sums + _inside(log_q, log_k, values)
    return sums.reshape(M * C, -1)[:T] + earlier


def _before(log_k, values):
    """The state before each chunk: largest logarithms [M, 1, R], sums [M, R, U]."""
    own = _largest(log_k)
    sums = jnp.einsum("mcr,mcu->mru", jnp.exp(log_k - own), values)
    top = lax.cummax(own)
    before = jnp.concatenate([jnp.full_like(own[:1], _lowest(own)), top[:-1]])
    kept, gain = (jnp.swapaxes(jnp.exp(x - top), 1, 2) for x in (before, own))

    def then(first, second):
        (a, x), (b, y) = first, second
        return a * b, b * x + y

    sums = lax.associative_scan(then, (kept, gain * sums))[1]
    return before, jnp.pad(sums[:-1], ((1, 0), (0, 0), (0, 0)))


def _inside(
    log_q: Float[Array, "M C R"],
    log_k: Float[Array, "M C R"],
    values: Float[Array, "M C U"],
) -> Float[Array, "M C U"]:
    """Sums over s <= t in each block."""
    return jnp.einsum("mcd,mdu->mcu", _scores(log_q, log_k), values)


def _scores(
    log_q: Float[Array, "M C R"], log_k: Float[Array, "M C R"]
) -> Float[Array, "M C C"]:
    """Scores of s <= t in each block, by halves: the second on the first, then each."""
    M, C, _ = log_k.shape
    if C <= PAIRS:
        return _pairs(log_q, log_k)
    half, whole = (C + 1) // 2, ((0, 0), (0, C % 2), (0, 0))
    # All first halves, then all second: a reshape would need the sharding of the axes
    # that `vmap` adds.
    log_q, log_k = (
        jnp.concatenate(
            [x[:, :half], jnp.pad(x, whole, constant_values=-jnp.inf)[:, half:]]
        )
        for x in (log_q, log_k)
    )
    first = log_k[:M]
    top = _largest(first)
    cross = jnp.einsum("mcr,mdr->mcd", jnp.exp(log_q[M:] + top), jnp.exp(first - top))
    own = _scores(log_q, log_k)
    above = jnp.pad(own[:M], ((0, 0), (0, 0), (0, half)))
    below = jnp.concatenate([cross, own[M:]], axis=2)
    return jnp.concatenate([above, below], axis=1)[:, :C, :C]


def _pairs(
    log_q: Float[Array, "M C R"], log_k: Float[Array, "M C R"]
) -> Float[Array, "M C C"]:
    """Scores of s <= t in each block, pair by pair, one diagonal at a time."""
    C = log_k.shape[1]
    columns = [
        jnp.pad(jnp.exp(log_q[:, d:] + log_k[:, : C - d]).sum(axis=2), ((0, 0), (d, 0)))
        for d in range(C)
    ]
    behind = np.subtract.outer(np.arange(C), np.arange(C))
    rows = np.arange(C)[:, None]
    # Else the exponentials are computed again for each entry that is moved.
    diagonals = lax.optimization_barrier(jnp.stack(columns, axis=2))
    scores = diagonals[:, rows, np.maximum(behind, 0)]
    return jnp.where(jnp.tri(C, dtype=bool)[None], scores, 0.0)


def _all_seen(log_q, log_k):
    """Exponentiates the features stably, where every query sees every key."""
    top = _largest(log_k)
    return _over_largest(log_q + top), jnp.exp(log_k - top)


def _fit_causal(log_q, log_k, values, state: State | None = None):
    """Fits all to T rows; shifts queries by their largest product with visible keys."""
    T = log_q.shape[0]
    log_k, values = fit(log_k, T, -jnp.inf), fit(values, T)
    least = _lowest(log_k) if state is None else lax.stop_gradient(state[0])[None]
    seen = jnp.maximum(lax.cummax(lax.stop_gradient(log_k)), least)
    top = lax.stop_gradient((log_q + seen).max(axis=1, keepdims=True))
    return log_q - top, log_k, values


def _largest(log_k: Float[Array, "*M C R"]) -> Float[Array, "*M 1 R"]:
    """The maximum of each feature over the keys; finite if all keys are padding."""
    largest = log_k.max(axis=-2, keepdims=True, initial=_lowest(log_k))
    return lax.stop_gradient(largest)


def _over_largest(x: Float[Array, "*T R"]) -> Float[Array, "*T R"]:
    return jnp.exp(x - lax.stop_gradient(x.max(axis=-1, keepdims=True)))


def _lowest(x: Array) -> float:
    return float(jnp.finfo(x.dtype).min)
