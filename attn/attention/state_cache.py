"""The cache of a mechanism with a state, whose size is that of one token's.

Arrays begin with the batch, so rows are selected, repeated or reordered by
`jax.tree.map`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attn.errors import UserError
from attn.kernels.base import Kernel, Weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class StateCache:
    """The state of every head after the tokens so far."""

    state: Any
    """Arrays [B, N, ...], or [B, K, ...] where the heads of a group share one."""

    @property
    def heads(self) -> int:
        """The number of states of a sequence, N or K."""
        return jax.tree.leaves(self.state)[0].shape[1]

    def filled(
        self,
        kernel: Kernel,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K Hv"],
        real: Bool[Array, "B T"],
        weights: Weights | None,
    ) -> "StateCache":
        """The states after the real tokens of a prompt."""

        def one(q, k, v, real, weights):
            return kernel.absorb(q[:, 0], k[:, 0], v[:, 0], real, weights=weights)

        head: Callable[..., Any] = jax.vmap(one, in_axes=(1, 1, 1, None, 0))
        tokens = [by_state(x, self.heads) for x in (q, k, v)]
        arguments = (*tokens, real, weights)
        state = jax.vmap(head, in_axes=(0, 0, 0, 0, None))(*arguments)
        return StateCache(
            jax.tree.map(lambda x, y: x.astype(y.dtype), state, self.state)
        )

    def advanced(
        self,
        kernel: Kernel,
        q: Float[Array, "B 1 N H"],
        k: Float[Array, "B 1 K H"],
        v: Float[Array, "B 1 K Hv"],
        weights: Weights | None,
        active: Bool[Array, "B"] | None,
    ) -> tuple[Float[Array, "B 1 N Hv"], "StateCache"]:
        """Advances the states by a token, and reads them for every query head."""

        def one(state, q, k, v, weights):
            def read(q):
                return kernel.step(state, q, k[0], v[0], weights=weights)

            if len(q) == 1:
                new, out = read(q[0])
                return new, out[None]
            return jax.vmap(read, out_axes=(None, 0))(q)

        tokens = [by_state(x, self.heads)[:, 0] for x in (q, k, v)]
        head: Callable[..., Any] = jax.vmap(one)
        arguments = (self.state, *tokens, weights)
        state, out = jax.vmap(head, in_axes=(0, 0, 0, 0, None))(*arguments)
        out = out.reshape(*q.shape[:3], out.shape[-1])
        return out, StateCache(select(active, state, self.state))


def empty_state(
    kernel: Kernel, B: int, heads: tuple[int, int], widths: tuple[int, int]
) -> StateCache:
    """Makes the cache of no tokens, for N query and K key/value heads."""
    N, K = heads
    # Without arrays of a head's own, the query heads of a group have the same state.
    lead = B, K if kernel.owns == "nothing" else N
    state = kernel.begin(*widths)
    return StateCache(
        jax.tree.map(lambda x: jnp.broadcast_to(x, (*lead, *x.shape)), state)
    )


def by_state(x: Array, states: int) -> Float[Array, "B T states G U"]:
    """Divides query heads among the states, or repeats key heads for them."""
    B, T, n, width = x.shape
    if n < states:
        x, n = jnp.repeat(x, states // n, axis=2), states
    return x.reshape(B, T, states, n // states, width)


def select(active: Bool[Array, "B"] | None, new: Any, old: Any) -> Any:
    """Selects by row between two trees of arrays [B, ...]; all of `new` for None."""
    if active is None:
        return new

    def by_row(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(active, range(1, new.ndim)), new, old)

    return jax.tree.map(by_row, new, old)


def require_values(kernel: Kernel, v: Array | None) -> None:
    """Raises `UserError` where values were left to the keys."""
    if v is None:
        raise UserError(
            f"v is None; kernel {kernel.name!r} keeps a state and no keys, whose first "
            "channels could be values"
        )
