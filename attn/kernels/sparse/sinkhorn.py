"""Sparse Sinkhorn attention: each block of queries sees its own and a sorted block."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attn.errors import UserError
from attn.kernels.base import Kernel, Weights, bad_knob, matmul_flops, sums_dtype, wide
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import clean
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask


@dataclass(frozen=True)
class SinkhornAttention(Kernel):
    """Attention to a block and a sorted block of keys: Tay et al. 2020, section 3.

        softmax(q [k; R k]^T / sqrt(H)) [v; R v]

    Keys are split into M blocks. A sorting network gives each block a row of M logits
    from the sum of its keys, and Sinkhorn's balancing (rows, then columns, in log
    space) turns exp(logits / temperature) into R, nearly doubly stochastic: a soft
    permutation. Block b of the queries sees its own keys, and the keys sum_j R[b, j]
    k_j, position by position. O(T C + T M) time and O(T C + M^2) memory for blocks of C
    = `block`.

    Padded keys are left out of every sum, and a block of padding alone is balanced by
    itself, apart from the others. A position of a sorted block is seen where any block
    has a real key there, so rows of the map sum to 1 only as nearly as rows of R do,
    and to less where that position of another block is padding.

    Cannot be causal: columns are balanced over all blocks, so that R[b] knows what
    comes after b. (The paper's causal balancing sums columns over earlier blocks alone,
    and its summaries are of all that was read up to a block.) Made for one longest
    sequence; shorter ones take the first outputs of the network.

    Departures. The network reads a head's keys, not the layer's input, and has no
    biases. Both blocks share one softmax. Gumbel noise is left out, so the same call
    gives the same output.
    """

    name = "sinkhorn"
    family = "sparse"
    can: ClassVar[frozenset[str]] = frozenset(
        {"bidirectional", "key_padding", "scale", "map"}
    )
    least: ClassVar = {"block": 1, "iterations": 1}
    within = ("block",)

    block: int = 32
    """Tokens of a block, C."""
    iterations: int = 7
    """Iterations of row and column normalisation."""
    temperature: float = 0.75
    """Divisor of the logits; the lower, the closer R is to a permutation."""

    def __post_init__(self):
        super().__post_init__()
        if self.temperature <= 0:
            raise bad_knob(self, "temperature", "it must be above 0")

    @property
    def owns(self):
        return "weights"

    def init(self, key, *, head_dim, kv_len):
        """Draws W1 [H, H] and W2 [H, M], normal with variance 1 / H."""
        first, second = jax.random.split(key)
        H, M = head_dim, -(-kv_len // self.block)
        return {
            "W1": jax.random.normal(first, (H, H)) * H**-0.5,
            "W2": jax.random.normal(second, (H, M)) * H**-0.5,
        }

    def num_weights(self, H, S):
        return H * (H + -(-S // self.block))

    def flops(self, T, S, H, Hv, mask):
        C, M = self.block, -(-S // self.block)
        network = matmul_flops(M, H, H + M)
        return network + matmul_flops(M * C, M + 2 * C, H + Hv)

    def state_size(self, S, H, Hv, mask):
        return S * (H + Hv)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "T H"],
        v: Float[Array, "T Hv"],
        *,
        mask: Mask,
        weights: Weights,
        scoring: Scoring = PLAIN,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv]; T may be shorter than the length given to `init`."""
        (T, H), C = q.shape, self.block
        kv_ids = kv_info.ids(T)
        real = jnp.full(T, True) if kv_ids is None else kv_ids >= 0
        blocks = q, clean(k, kv_ids), clean(v, kv_ids), real
        q, k, v, real = (in_chunks(x, C) for x in blocks)
        R = self.sort(k, real.any(axis=1), weights)

        # Own and sorted keys side by side: [M, 2 C, ...].
        keys, values = (
            jnp.concatenate([x, jnp.einsum("mn,nch->mch", R, x.astype(R.dtype))], 1)
            for x in (k, v)
        )
        seen = jnp.concatenate([real, (R @ real.astype(R.dtype)) > 0], axis=1)
        scores = jnp.einsum("mch,mdh->mcd", q.astype(R.dtype), keys)
        scores = scores * scoring.factor(H)
        shares = softmax(jnp.where(seen[:, None], scores, -jnp.inf))
        out = jnp.einsum("mcd,mdh->mch", shares, values)
        return out.reshape(-1, v.shape[2])[:T].astype(v.dtype)

    def sort(
        self, k: Float[Array, "M C H"], live: Bool[Array, "M"], weights: Weights
    ) -> Float[Array, "M M"]:
        """Computes R, which sorts blocks; a block without real keys maps to itself."""
        M = len(k)
        W1, W2 = (wide(weights[name]) for name in ("W1", "W2"))
        if W2.shape[1] < M:
            raise UserError(
                f"sinkhorn was made for {W2.shape[1]} blocks of {self.block} keys and was "
                f"given {M}; init it with a larger kv_len"
            )
        summaries = k.sum(axis=1, dtype=sums_dtype(k))
        logits = jax.nn.relu(summaries @ W1) @ W2[:, :M] / self.temperature
        return sinkhorn(logits, live, self.iterations)


def sinkhorn(
    logits: Float[Array, "M M"], live: Bool[Array, "M"], iterations: int
) -> Float[Array, "M M"]:
    """Normalises rows, then columns, of exp(logits), repeatedly."""

    def balance(x, _):
        x = x - jax.nn.logsumexp(x, axis=1, keepdims=True)
        return x - jax.nn.logsumexp(x, axis=0, keepdims=True), None

    # Blocks without real keys map to themselves, so that nothing is divided by 0.
    pairs = (live[:, None] & live[None, :]) | jnp.eye(len(live), dtype=bool)
    x = jnp.where(pairs, logits, -jnp.inf)
    return jnp.exp(lax.scan(balance, x, length=iterations)[0])


def softmax(scores: Float[Array, "... S"]) -> Float[Array, "... S"]:
    """Softmax over the last axis; 0, with no gradient, where all of it is -inf."""
    top = lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    shares = jnp.exp(scores - jnp.where(top == -jnp.inf, 0.0, top))
    total = shares.sum(axis=-1, keepdims=True)
    return shares / jnp.where(total == 0, 1.0, total)
