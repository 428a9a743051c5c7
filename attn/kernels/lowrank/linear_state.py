"""Linear attention's sums: row t is the sum of (phi_q[t] . phi_k[s]) values[s].

Three forms of one sum, over all s or over s <= t. `parallel` holds the T × S map,
`recurrent` one R × U state that every token changes, and `chunked` one state for each
chunk of tokens: earlier tokens enter a chunk by its state, those of the chunk are
scored directly, so there is neither a T × T map nor a scan over tokens.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attn.kernels.chunks import in_chunks


def fold(
    state: Float[Array, "R U"], phi_k: Float[Array, "R"], value: Float[Array, "U"]
) -> Float[Array, "R U"]:
    """Adds one key to the state: Katharopoulos et al. 2020, equations 18 and 19."""
    return state + phi_k[:, None] * value[None, :]


def add(first: Float[Array, "R U"], second: Float[Array, "R U"]) -> Float[Array, "R U"]:
    """The state after the keys of two states."""
    return first + second


def unfold(
    state: Float[Array, "R U"], phi_q: Float[Array, "*T R"]
) -> Float[Array, "*T U"]:
    """Computes the rows of queries from the state."""
    return phi_q @ state


def absorb(
    phi_k: Float[Array, "S R"], values: Float[Array, "S U"]
) -> Float[Array, "R U"]:
    """The state after all keys."""
    return phi_k.T @ values


def parallel(
    phi_q: Float[Array, "T R"],
    phi_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
) -> Float[Array, "T U"]:
    """Computes the sums from the whole map, in O(T S) time and memory."""
    scores = phi_q @ phi_k.T
    if causal:
        scores = jnp.where(jnp.tri(*scores.shape, dtype=bool), scores, 0.0)
    return scores @ values


def recurrent(
    phi_q: Float[Array, "T R"],
    phi_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
) -> Float[Array, "T U"]:
    """Computes the sums token by token; the gradient keeps the state of every token."""
    empty = jnp.zeros((phi_k.shape[1], values.shape[1]), values.dtype)

    def step(state, token):
        phi_q, phi_k, value = token
        state = fold(state, phi_k, value)
        return state, phi_q @ state

    def only_fold(state, token):
        return fold(state, *token), None

    if not causal:
        return phi_q @ lax.scan(only_fold, empty, (phi_k, values))[0]
    T = phi_q.shape[0]
    return lax.scan(step, empty, (phi_q, fit(phi_k, T), fit(values, T)))[1]


def chunked(
    phi_q: Float[Array, "T R"],
    phi_k: Float[Array, "S R"],
    values: Float[Array, "S U"],
    causal: bool,
    size: int,
    state: Float[Array, "R U"] | None = None,
) -> Float[Array, "T U"]:
    """Computes the sums of all chunks at once; in one product unless causal.

    Args:
        state: of keys before the first, which every query sees.
    """
    if not causal:
        return phi_q @ (phi_k.T @ values)
    T = phi_q.shape[0]
    C = min(size, T)
    phi_q, phi_k, values = (in_chunks(fit(x, T), C) for x in (phi_q, phi_k, values))
    states = jnp.einsum("mcr,mcu->mru", phi_k, values)
    # Shifted, since subtracting a large last term would leave its rounding error.
    before = jnp.pad(jnp.cumsum(states, axis=0)[:-1], ((1, 0), (0, 0), (0, 0)))
    if state is not None:
        before = before + state[None]
    scores = jnp.einsum("mcr,mdr->mcd", phi_q, phi_k)
    scores = jnp.where(jnp.tri(C, dtype=bool)[None], scores, 0.0)
    sums = jnp.einsum("mcr,mru->mcu", phi_q, before)
    sums = sums + jnp.einsum("mcd,mdu->mcu", scores, values)
    return sums.reshape(-1, sums.shape[-1])[:T]


def fit(x: Float[Array, "S U"], T: int, fill: float = 0) -> Float[Array, "T U"]:
    """Truncates or pads to T rows, with `fill`.

    Under a causal mask no query sees the keys after the last query.
    """
    more = ((0, max(T - x.shape[0], 0)), (0, 0))
    return jnp.pad(x[:T], more, constant_values=fill)


def with_ones(v: Float[Array, "S Hv"]) -> Float[Array, "S U"]:
    """Values, at least float32, with a column of ones that sums the normaliser."""
    acc = jnp.promote_types(v.dtype, jnp.float32)
    return jnp.concatenate([v.astype(acc), jnp.ones_like(v[:, :1], acc)], axis=1)


def normalise(sums: Float[Array, "T U"]) -> Float[Array, "T Hv"]:
    """Divides all columns but the last by the last; 0 where that is 0."""
    # Divided first by the total as a constant: the quotient is the same, and its
    # gradient has no 1 / total^2 to overflow where a query's features are small.
    sums = sums / lax.stop_gradient(jnp.where(sums[:, -1:] == 0, 1.0, sums[:, -1:]))
    total = sums[:, -1:]
    return sums[:, :-1] / jnp.where(total == 0, 1.0, total)
