"""The call of splash attention, in a module of its own since its import is slow."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as splash_kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as splash_mask,
)
from jaxtyping import Array

from attn.attention.backends.splash import Predicate
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Mask, Tile

BLOCKS = (1024, 512, 256, 128)
"""Block sizes, best first. The library's default of 128 leaves a v5e at 4% of its peak
(jax issue 24633); 1,024 beats 512 by a third on v6e (axlearn pull request 958); 2,048
overflows the vector memory of a v5p, and at H = 256 that of a v5e."""

FUSED_BLOCKS = 4
"""The number of key blocks up to which one kernel gives all gradients. It takes 5
matmuls a tile and not 7, but leaves a partial gradient of q for each key block, which
with many is O(T S) memory: 270 MB against 2 MB at 32,768 tokens of one head, H =
128."""

NO_SINK = -1e30
"""A sink below every score, but above the -2e38 that hides a key. It takes no weight
from a query that sees a key, and all of one that sees none, which gives 0 with zero
gradients."""

NO_QUERY = -2
"""The segment id of padded queries, which no key has, padded or not."""


def splash_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask_function: Predicate,
    scoring: Scoring,
    q_info: TokenInfo,
    kv_info: TokenInfo,
    interpret: bool,
) -> Array:
    """Runs splash attention on one device: q [B, T, N, H] to [B, T, N, Hv]."""
    T, N, S = q.shape[1], q.shape[2], k.shape[1]
    full = mask_function.mask == FULL
    lazy = splash_mask.FullMask((T, S)) if full else LazyMask(mask_function, T, S)
    kernel = splash_kernel.make_splash_mha(
        splash_mask.MultiHeadMask([lazy] * N),
        block_sizes=block_sizes(T, S),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=scoring.softcap,
        interpret=interpret,
    )
    sinks = scoring.sinks
    if sinks is None:
        sinks = jnp.full((N,), NO_SINK, jnp.float32)
    ids = segment_ids(len(q), T, S, q_info, kv_info)
    q = (q.astype(jnp.float32) * scoring.factor(q.shape[-1])).astype(q.dtype)
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    batched = jax.vmap(kernel, in_axes=(0, 0, 0, None if ids is None else 0, None))
    out = batched(q, k, v, ids, sinks)
    assert isinstance(out, jax.Array)  # and no residuals, which were not asked for
    return out.swapaxes(1, 2)


def segment_ids(
    B: int, T: int, S: int, q_info: TokenInfo, kv_info: TokenInfo
) -> splash_kernel.SegmentIds | None:
    """Merges segments, padding and lengths into one id a token; None without any."""
    q_ids, kv_ids = q_info.ids(T, NO_QUERY), kv_info.ids(S)
    if q_ids is None and kv_ids is None:
        return None
    q_ids = jnp.zeros((B, T), jnp.int32) if q_ids is None else q_ids
    kv_ids = jnp.zeros((B, S), jnp.int32) if kv_ids is None else kv_ids
    return splash_kernel.SegmentIds(q_ids, kv_ids)


def block_sizes(T: int, S: int) -> splash_kernel.BlockSizes:
    """The largest block sizes that divide T and S."""
    block_q, block_kv = (
        next(block for block in BLOCKS if length % block == 0) for length in (T, S)
    )
    fused = S // block_kv <= FUSED_BLOCKS
    return splash_kernel.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_kv_compute=min(block_kv, 512),
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=min(block_kv, 512),
        block_q_dq=None if fused else block_q,
        block_kv_dq=None if fused else block_kv,
        use_fused_bwd_kernel=fused,
    )


@dataclass(frozen=True)
class LazyMask(splash_mask.Mask):
    """A mask of `attn.masks` behind splash attention's mask interface.

    Splash checks only whether any and whether all pairs of a block are visible, then
    masks elements by `mask_function` in the kernel. So a block is given as two
    elements, by its tile verdict.
    """

    mask_function: Predicate
    T: int
    S: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.T, self.S

    @property
    def q_sequence(self) -> np.ndarray:
        return np.arange(self.T, dtype=np.int32)

    def __getitem__(self, idx: tuple[slice, slice]) -> np.ndarray:
        q, k = idx
        kinds = verdicts(
            self.mask_function.mask, self.T, self.S, q.stop - q.start, k.stop - k.start
        )
        kind = kinds[q.start // (q.stop - q.start), k.start // (k.stop - k.start)]
        return np.array([kind != Tile.EMPTY, kind == Tile.FULL])


@lru_cache(maxsize=64)
def verdicts(mask: Mask, T: int, S: int, q_block: int, k_block: int) -> np.ndarray:
    """The verdicts on all tiles, [T / q_block, S / k_block]."""
    q, k = np.arange(0, T, q_block)[:, None], np.arange(0, S, k_block)[None]
    kinds = mask.tile(q, q + q_block, k, k + k_block)
    return np.broadcast_to(kinds, (q.size, k.size))
