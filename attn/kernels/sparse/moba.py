"""MoBA: attention to the blocks whose mean keys score highest with a query."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.kernels.base import Kernel, matmul_flops, wide
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import clean
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.sparse.largest import positions_of_largest
from attn.kernels.sparse.routed import routed_attention, routed_flops
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Causal, Mask


@dataclass(frozen=True)
class MoBA(Kernel):
    """Softmax over the union of chosen blocks: Lu et al. 2025, section 2.2.

    The gate of block i is s_i = q . mean(K[I_i]); a query attends to the `num_blocks`
    blocks of highest gate, its own one always among them. No later block is chosen and
    the own block is causal within ("causality in MoBA", same section). The choice
    itself has no gradient, and no weights. O(T S H / block) time for the gates, which
    is quadratic still, and O(T num_blocks block H) for the rest; memory follows
    likewise.

    The paper is causal only. Without a mask our reading is that all blocks compete,
    before and after, and that the own one is always among the chosen. Of padding: a
    mean is over real keys, and a block without any is never chosen. The own block is
    the one of equal index, so that keys of another length than the queries are not
    supported.
    """

    name = "moba"
    family = "sparse"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "key_padding", "scale", "map", "normalised"}
    )
    least: ClassVar = {"block": 1, "num_blocks": 1}
    within = ("block",)

    block: int = 64
    """Keys of a block; the last one of a sequence may be shorter."""
    num_blocks: int = 4
    """Blocks that a query attends to, its own included; all, where there are fewer."""

    def sizes(self, S: int) -> tuple[int, int]:
        """The number of blocks of S keys, M, and how many of them a query takes, J."""
        M = -(-S // self.block)
        return M, min(self.num_blocks, M)

    def num_pairs(self, mask, T, S):
        if mask != Causal():
            return None  # without a mask the last block may be among the chosen, or not
        t = np.arange(T)
        earlier = np.minimum(self.num_blocks - 1, t // self.block)
        return int((t % self.block + 1 + earlier * self.block).sum())

    def flops(self, T, S, H, Hv, mask):
        M, J = self.sizes(S)
        return matmul_flops(T, M, H) + routed_flops(T, S, J, self.block, H, Hv)

    def state_size(self, S, H, Hv, mask):
        """Numbers kept: keys and values, and the mean key of each block."""
        return S * (H + Hv) + self.sizes(S)[0] * H

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        scoring: Scoring = PLAIN,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`; a query that sees nothing gives 0."""
        kv_ids = kv_info.ids(len(k))
        chosen = choose(
            *block_gates(q, clean(k, kv_ids), self.block, kv_ids),
            block=self.block,
            count=self.num_blocks,
            ahead=mask == FULL,
        )
        out, _ = routed_attention(
            q,
            k,
            v,
            chosen,
            block=self.block,
            mask=mask,
            scale=scoring.scale,
            kv_ids=kv_ids,
        )
        return out.astype(v.dtype)


def block_gates(
    q: Float[Array, "T H"],
    k: Float[Array, "S H"],
    block: int,
    kv_ids: Int[Array, "S"] | None,
) -> tuple[Float[Array, "T M"], Bool[Array, "M"]]:
    """The products of q and each block's mean real key, and which blocks have any."""
    real = jnp.ones(len(k), bool) if kv_ids is None else kv_ids >= 0
    size = in_chunks(real, block).sum(axis=1)
    sums = in_chunks(wide(k), block).sum(axis=1)
    means = sums / jnp.maximum(size, 1)[:, None]
    return lax.stop_gradient(wide(q) @ means.T), size > 0


def choose(
    gates: Float[Array, "T M"],
    real: Bool[Array, "M"],
    *,
    block: int,
    count: int,
    ahead: bool,
    forced: int = 1,
    first: int = 0,
) -> Int[Array, "T J"]:
    """Chooses the blocks of highest gate; -1 where fewer are visible.

    Args:
        gates: the scores of blocks.
        real: whether a block has a real key.
        block: keys of a block.
        count: blocks to choose.
        ahead: whether a later block may be chosen.
        forced: blocks up to the query's own one that are chosen before all others.
        first: blocks at the start of the sequence that are chosen likewise.
    """
    T, M = gates.shape
    own, other = jnp.arange(T)[:, None] // block, jnp.arange(M)[None]
    near = (other <= own) & (other > own - forced)
    gates = jnp.where(near | (other < first), jnp.inf, gates)
    allowed = real[None] if ahead else real[None] & (other <= own)
    gates = jnp.where(allowed, gates, -jnp.inf)

    return positions_of_largest(gates, count)
