"""Native sparse attention: compressed, selected and window branches, mixed by gates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attn.kernels.base import Kernel, Weights, bad_knob, matmul_flops, wide
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import clean
from attn.kernels.sparse.last_keys import last_keys, masked_softmax
from attn.kernels.sparse.moba import choose
from attn.kernels.sparse.routed import routed_attention, routed_flops
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask

CHUNK = 256
"""Queries that attend to all compressed keys at once."""
FIRST, LOCAL = 1, 2
"""Blocks that are always selected: at the start of the sequence, and up to a query's
own."""


@dataclass(frozen=True)
class NativeSparseAttention(Kernel):
    """Three sparse attentions, mixed by gates: Yuan et al. 2025, section 3, equation 5.

        sum over c of g_c o_c

    Three softmax attentions of the same query, mixed by gates g = sigmoid(W q + b):

    - compressed (3.3.1, equation 7): to one key and one value for every `block` keys, a
      new one each `stride`, of those that end at or before the query. The key is an MLP
      of the block's keys and of learned embeddings of the positions in it.
    - chosen (3.3.2, equations 8, 9 and 11): to the keys of `num_blocks` blocks, by the
      compressed attention's weights, each counted once for every `stride` keys that its
      block shares with the chosen one. The first block and the two up to the query's own
      are always of them (section 4.1).
    - window (3.3.3): to the last `width` keys.

    O(T S / stride) time for the first, which is quadratic still, and
    O(T (num_blocks block + width)) for the others. Memory follows: T S / block numbers
    for the choice, T num_blocks Hv for its parts, S H block / stride to compress.

    Departures. A compressed value is a learned weighted mean over positions, the same
    for all channels, so that one T × S map is applied to every channel; the paper's is
    an MLP too. The paper's gates read the input of the layer, of which our query is a
    linear map, rotated where positions are rotary. Its branches have keys and values of
    their own; ours share one projection. It chooses once for all heads of a group, to
    save memory traffic; each head here chooses for itself. Blocks that are compressed
    and blocks that are chosen have one size (32 and 64 in the paper). Of padding: a
    compressed block is made of its real keys, and is not there if it has none.
    """

    name = "nsa"
    family = "sparse"
    can: ClassVar[frozenset[str]] = frozenset({"causal", "key_padding", "map"})
    least: ClassVar[Mapping[str, int]] = {
        "block": 1,
        "stride": 1,
        "num_blocks": FIRST + LOCAL,
        "width": 1,
    }
    within = (
        "block",
        "width",
    )

    block: int = 32
    """Keys of a block, compressed or selected."""
    stride: int = 16
    """Keys from one compressed block to the next; it divides `block`."""
    num_blocks: int = 8
    """Blocks that a query selects, the three that always are included."""
    width: int = 64
    """Keys of the window, the query's own position included."""

    @property
    def owns(self):
        return "weights"

    def __post_init__(self):
        super().__post_init__()
        if self.block % self.stride:
            raise bad_knob(self, "stride", f"it must be a divisor of {self.block}")

    def init(self, key, *, head_dim, kv_len):
        """Draws an MLP of equal variance; starts at mean values and gates near 1/2."""
        H, normal = head_dim, jax.random.normal
        position, hidden, out, gates = jax.random.split(key, 4)
        return {
            "position": 0.02 * normal(position, (self.block, H)),
            "hidden": normal(hidden, (self.block, H, H)) * (self.block * H) ** -0.5,
            "out": normal(out, (H, H)) * H**-0.5,
            "values": jnp.zeros(self.block),
            "gates": 0.02 * normal(gates, (3, H)),
            "gate_bias": jnp.zeros(3),
        }

    def num_weights(self, H, S):
        return self.block * (H + H * H + 1) + H * H + 3 * (H + 1)

    def sizes(self, S: int) -> tuple[int, int, int]:
        """The numbers of compressed keys, of blocks M, and of selected blocks J."""
        M = -(-S // self.block)
        return (S - self.block) // self.stride + 1, M, min(self.num_blocks, M)

    def flops(self, T, S, H, Hv, mask):
        few, _, J = self.sizes(S)
        made = matmul_flops(few, H, self.block * H + H) + matmul_flops(few, self.block, Hv)  # fmt: skip
        near = matmul_flops(-(-T // self.width) * self.width, 2 * self.width, H + Hv)
        chosen = routed_flops(T, S, J, self.block, H, Hv)
        return made + matmul_flops(T, few, H + Hv) + chosen + near + matmul_flops(T, 3, H)  # fmt: skip

    def state_size(self, S, H, Hv, mask):
        """Numbers kept: keys and values, plain and compressed."""
        return (S + max(self.sizes(S)[0], 0)) * (H + Hv)

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`; a query that sees nothing gives 0."""
        kv_ids = kv_info.ids(len(k))
        k, v = clean(k, kv_ids), clean(v, kv_ids)
        real = jnp.ones(len(k), bool) if kv_ids is None else kv_ids >= 0
        weights = {name: wide(w) for name, w in weights.items()}
        few_k, few_v, any_real = self.compress(k, v, real, weights)
        far, likes = self.compressed(q, few_k, few_v, any_real, len(k))
        chosen = choose(
            likes,
            in_chunks(real, self.block).any(axis=1),
            block=self.block,
            count=self.num_blocks,
            ahead=False,
            forced=LOCAL,
            first=FIRST,
        )
        picked, _ = routed_attention(
            q, k, v, chosen, block=self.block, mask=mask, kv_ids=kv_ids
        )
        near = last_keys(q, k, v, real, self.width)
        gates = wide(q) @ weights["gates"].T + weights["gate_bias"][None]
        gates = jax.nn.sigmoid(gates)[:, :, None]
        # Added and not stacked: a sum accepts branches with different shardings.
        out = gates[:, 0] * far + gates[:, 1] * picked + gates[:, 2] * near
        return out.astype(v.dtype)

    def compress(
        self,
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        real: Bool[Array, "S"],
        weights: Weights,
    ) -> tuple[Float[Array, "few H"], Float[Array, "few Hv"], Bool[Array, "few"]]:
        """Compresses keys and values by blocks, and says which have any real key."""

        def overlapping(x):
            """Stacks overlapping blocks, `stride` apart, as [few, block, ...]."""
            few, M, _ = self.sizes(len(x))
            ratio = self.block // self.stride
            x = jnp.pad(x, ((0, M * self.block - len(x)),) + ((0, 0),) * (x.ndim - 1))
            x = x.reshape(M * ratio, self.stride, *x.shape[1:])
            parts = [x[step : step + few] for step in range(ratio)]
            return jnp.concatenate(parts, axis=1)

        seen = overlapping(real)
        placed = overlapping(wide(k)) + weights["position"][None]
        placed = jnp.where(seen[..., None], placed, 0.0)
        hidden = jax.nn.gelu(jnp.einsum("mbh,bhe->me", placed, weights["hidden"]))
        share = jnp.where(seen, jax.nn.softmax(weights["values"])[None], 0.0)
        total = share.sum(axis=1, keepdims=True)
        share = share / jnp.where(total == 0, 1.0, total)
        values = overlapping(wide(v))
        means = jnp.einsum("mb,mbv->mv", share, values)
        return hidden @ weights["out"], means, seen.any(axis=1)

    def compressed(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "few H"],
        v: Float[Array, "few Hv"],
        real: Bool[Array, "few"],
        S: int,
    ) -> tuple[Float[Array, "T Hv"], Float[Array, "T M"]]:
        """Computes the compressed branch, and each query's importance of each block."""
        (T, H), (few, M, _) = q.shape, self.sizes(S)
        C = min(CHUNK, T)
        n = -(-T // C)
        last = jnp.arange(few) * self.stride + self.block - 1

        @jax.checkpoint
        def rows(chunk):
            q, index = chunk
            seen = real[None] & (last[None] <= index[:, None])
            scores = wide(q) @ k.T * H**-0.5
            weights = masked_softmax(scores, seen)
            return weights @ v, self.by_block(lax.stop_gradient(weights), M)

        index = jnp.arange(n * C).reshape(n, C)
        out, likes = lax.map(rows, (in_chunks(q, C), index))
        return out.reshape(n * C, -1)[:T], likes.reshape(n * C, M)[:T]

    def by_block(self, weights: Float[Array, "T few"], M: int) -> Float[Array, "T M"]:
        """Sums weights of compressed keys to importance of blocks (equation 9).

        Of the compressed blocks that start in block j, the u-th shares ratio - u
        strides with j and u with j + 1.
        """
        (T, few), ratio = weights.shape, self.block // self.stride
        weights = jnp.pad(weights, ((0, 0), (0, M * ratio - few)))
        weights = weights.reshape(T, M, ratio)
        over = jnp.arange(ratio, dtype=jnp.float32)
        own, behind = weights @ (ratio - over), weights @ over
        return own + jnp.pad(behind[:, :-1], ((0, 0), (1, 0)))
