"""RG-LRU: a gated linear recurrence that does not mix channels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attn.errors import UserError
from attn.kernels.base import Weights, wide
from attn.kernels.resumable import Resumable
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask

POWER = 8.0
"""The constant c of the paper, 8."""
SLOWEST, FASTEST = 0.999, 0.9
"""The range from which a^c is drawn, the initial decay of a channel at r = 1."""
GATES = 13
"""Elementwise FLOPs of both gates and the root, a number."""


@dataclass(frozen=True)
class RGLRU(Resumable):
    """The real-gated linear recurrent unit: De et al. 2024 (Griffin), section 2.4.

        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x_t

    Equations 1 to 4, channel by channel, with a_t = a^(c r_t), a = sigmoid(Lambda) and
    gates r_t and i_t that are sigmoids: q is the argument of the recurrence gate, k
    that of the input gate, and v is x. O(T H) time, no matmul, and decoding keeps H
    numbers. Each channel decays at its own rate, so there is no one map, and heads only
    divide the channels.

    The paper makes both gates from x itself, by block-diagonal maps with biases; ours
    are linear maps of what the layer is given, like x, and have no bias. What surrounds
    it there, a convolution before and a branch of GeLU that multiplies the output,
    belongs to a block, and is not here. The authors' code (recurrentgemma) puts 1 in
    place of the root at position 0 of a sequence, whose gated input then enters whole;
    ours has the root of equation 4 at every position.
    """

    name = "rglru"
    family = "recurrent"
    can: ClassVar[frozenset[str]] = frozenset({"causal", "key_padding", "decoding"})
    resumes = "parallel"
    implementations = ("parallel", "recurrent")
    """An associative scan, O(log T) deep; or one token after another, with fewer FLOPs
    and less memory, which is faster where no core is idle."""
    rotates = False

    @property
    def owns(self):
        return "weights"

    def init(self, key, *, head_dim, kv_len):
        """Draws Lambda [H] such that a^c is uniform (section 2.4)."""
        u = jax.random.uniform(key, (head_dim,), minval=FASTEST, maxval=SLOWEST)
        log_a = jnp.log(u) / POWER
        return {"Lambda": log_a - jnp.log(-jnp.expm1(log_a))}

    def num_weights(self, H, S):
        return H

    def check_head(self, H, Hv):
        if Hv != H:
            raise UserError(
                f"kernel {self.name!r} gates each channel by itself: values of width "
                f"{Hv} need gates as wide, and these are {H} wide"
            )

    def flops(self, T, S, H, Hv, mask):
        """Elementwise FLOPs, since there is no matmul."""
        return float((GATES + 2) * T * H)

    def state_size(self, S, H, Hv, mask):
        return H

    def begin(self, H, Hv):
        return jnp.zeros(Hv, jnp.float32)

    def step(self, state, q, k, v, *, weights=None):
        kept, added = recurrence(q, k, v, (weights or {})["Lambda"])
        state = kept * state + added
        return state, state.astype(v.dtype)

    def absorb(self, q, k, v, real, *, weights=None):
        gates = self._gates(q, k, v, weights or {}, real)
        return by_pairs(*gates)[-1]

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "T H"],
        v: Float[Array, "T H"],
        *,
        mask: Mask,
        weights: Weights,
        kv_info: TokenInfo = NO_INFO,
        form: Literal["parallel", "recurrent"] = "parallel",
    ) -> Float[Array, "T H"]:
        """Computes the states [T, H]: 0 before the first token, kept at padding."""
        scan = by_pairs if form == "parallel" else by_tokens
        gates = self._gates(q, k, v, weights, real_keys(kv_info, len(k)))
        return scan(*gates).astype(v.dtype)

    def transfer(self, q, k, v, *, weights=None, kv_info=NO_INFO):
        """The share of each channel that is kept, and what is added."""
        gates = self._gates(q, k, v, weights or {}, real_keys(kv_info, len(k)))
        return tuple(x[-1] for x in running(*gates))

    def after(self, state, transfer):
        kept, added = transfer
        return kept * state + added

    def resume(self, state, q, k, v, *, mask, weights=None, kv_info=NO_INFO):
        gates = self._gates(q, k, v, weights or {}, real_keys(kv_info, len(k)))
        kept, added = running(*gates)
        return (kept * state[None] + added).astype(v.dtype)

    def _gates(
        self, q: Array, k: Array, v: Array, weights: Weights, real: Array | None
    ) -> tuple[Float[Array, "T H"], Float[Array, "T H"]]:
        """Computes `recurrence`, which at padding keeps the state as it is."""
        if real is None:
            return recurrence(q, k, v, weights["Lambda"])
        q, k, v = (jnp.where(real[:, None], x, 0) for x in (q, k, v))
        kept, added = recurrence(q, k, v, weights["Lambda"])
        return jnp.where(real[:, None], kept, 1.0), added


def recurrence(
    q: Float[Array, "*T H"],
    k: Float[Array, "*T H"],
    v: Float[Array, "*T H"],
    Lambda: Float[Array, "H"],
) -> tuple[Float[Array, "*T H"], Float[Array, "*T H"]]:
    """The decay a_t of the state, and the input that is added; at least float32."""
    q, k, v, Lambda = (wide(x) for x in (q, k, v, Lambda))
    slowest = -POWER * jax.nn.softplus(-Lambda)
    log_a = jnp.broadcast_to(slowest, q.shape) * jax.nn.sigmoid(q)
    # The root is not differentiable at 0, where a gate is so small that a_t is 1.
    left = -jnp.expm1(2 * log_a)
    some = left > 0
    root = jnp.where(some, jnp.sqrt(jnp.where(some, left, 1.0)), 0.0)
    return jnp.exp(log_a), root * jax.nn.sigmoid(k) * v


def by_pairs(
    kept: Float[Array, "T H"], added: Float[Array, "T H"]
) -> Float[Array, "T H"]:
    """Computes h_t = kept_t h_{t-1} + added_t in O(log T) steps (associative scan)."""
    return running(kept, added)[1]


def running(
    kept: Float[Array, "T H"], added: Float[Array, "T H"]
) -> tuple[Float[Array, "T H"], Float[Array, "T H"]]:
    """The share that is left of the state before all tokens, and h_t where that is 0."""

    def then(first, second):
        (a, x), (b, y) = first, second
        return a * b, b * x + y

    return lax.associative_scan(then, (kept, added))


def real_keys(kv_info: TokenInfo, S: int) -> Bool[Array, "S"] | None:
    """True for each of S keys that is no padding; None for all."""
    kv_ids = kv_info.ids(S)
    return None if kv_ids is None else kv_ids >= 0


def by_tokens(
    kept: Float[Array, "T H"], added: Float[Array, "T H"]
) -> Float[Array, "T H"]:
    """Computes h_t = kept_t h_{t-1} + added_t in T steps."""

    def one(state, token):
        state = token[0] * state + token[1]
        return state, state

    return lax.scan(one, jnp.zeros_like(added[0]), (kept, added))[1]
