"""Reformer: a query sees the keys in its own hash bucket."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, Weights, bad_knob, matmul_flops, sums_dtype, wide
from attn.kernels.dense import clean
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.sparse.buckets import Round, hashes, lay_out, most
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask


@dataclass(frozen=True)
class Reformer(Kernel):
    """Softmax over keys of the query's own bucket: Kitaev et al. 2020, section 2.

    h(x) = argmax([x R; -x R]) with R normal, so similar vectors share a bucket. In
    every round keys are sorted by bucket, then by position, and each bucket is split
    into chunks from its own start. The chunk of a query is that of the last key of its
    bucket that is not after its position, or of the first if there is none; it sees
    keys of its bucket in that chunk, in the one before and, where the mask lets it look
    ahead, in the one after. Rounds are united: a pair that N rounds show carries
    exp(score) / N in each (appendix A), so it counts once. With B buckets and chunks of
    C keys a round takes O((T + B C) C) time and memory beside the sorting; every pair
    is looked up in all rounds.

    Departures. The paper splits the whole sorted order, across buckets; there a later
    token moves the borders of chunks, and with them which earlier keys share one, so
    outputs would not be causal. Here a token's chunk depends on the number of tokens of
    its bucket before it and on nothing else; for that the last chunk of a bucket is
    filled in part. The paper ties keys to queries; here both are hashed by the same R
    and keys are still divided by their length. It lets a token see itself only where
    nothing else is shown, since a tied key answers itself loudest; here every token
    sees its own position, which also leaves no query blind. Its chunks are 2 T /
    num_buckets long, and see themselves and the one before, never the one after.

    Hashing is in float32 and passes no gradient. Padded keys are in no bucket.
    """

    name = "reformer"
    family = "sparse"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "key_padding", "scale", "map", "normalised"}
    )
    least: ClassVar = {"num_rounds": 1, "chunk": 1}
    within = (
        "num_buckets",
        "chunk",
    )

    num_buckets: int = 8
    """Values of a hash: even; or 1, for no hashing."""
    num_rounds: int = 2
    """Hash rounds, each with a rotation of its own."""
    chunk: int = 32
    """Keys of a chunk of a bucket."""
    unit_keys: bool = True
    """Whether keys are divided by their length, as in the paper, before scoring."""

    def __post_init__(self):
        if self.num_buckets < 1 or (self.num_buckets % 2 and self.num_buckets > 1):
            raise bad_knob(self, "num_buckets", "it must be even and above 0, or 1")
        super().__post_init__()

    @property
    def owns(self):
        return "features"

    def init(self, key, *, head_dim, kv_len):
        """Draws R of every round, [rounds, H, half the buckets]."""
        shape = (self.num_rounds, head_dim, -(-self.num_buckets // 2))
        return {"rotations": jax.random.normal(key, shape)}

    def sizes(self, T: int, mask: Mask) -> tuple[int, int, int]:
        """The numbers of tiles a round, queries a tile, and keys a tile."""
        C = min(self.chunk, T)
        L = most(T, most(T, self.num_buckets, C), C)
        return L, C, (2 + (mask == FULL)) * C

    def flops(self, T, S, H, Hv, mask):
        L, C, W = self.sizes(T, mask)
        hashed = matmul_flops(T + S, H, -(-self.num_buckets // 2))
        return self.num_rounds * (hashed + matmul_flops(L, C, W, H + Hv + 1))

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
        """Attends: [T, Hv] in the dtype of `v`; a row that sees nothing is 0."""
        kv_ids = kv_info.ids(len(k))
        k, v = clean(k, kv_ids), clean(v, kv_ids)
        real = jnp.full(len(k), True) if kv_ids is None else kv_ids >= 0
        buckets = partial(hashes, rotations=weights["rotations"], num=self.num_buckets)
        of_k = jnp.where(real, buckets(k), self.num_buckets)
        ahead = int(mask == FULL)
        C = min(self.chunk, len(q))
        lay = partial(lay_out, num=self.num_buckets, C=C, ahead=ahead)
        rounds = jax.vmap(lay)(buckets(q), of_k)
        if self.unit_keys:
            k = (k * inverse_length(k)[:, None]).astype(k.dtype)
        factor = scoring.factor(q.shape[1])

        scores = scores_of(rounds, q, k, factor, ahead)
        own = jnp.einsum("th,th->t", q, k, preferred_element_type=sums_dtype(q))
        own = jnp.where(real, own * factor, -jnp.inf)
        tops = to_tokens(scores.max(axis=2), rounds.slots).max(axis=0)
        top = lax.stop_gradient(jnp.maximum(tops, own))
        top = jnp.where(top == -jnp.inf, 0.0, top)

        # A column of ones sums the normaliser in the same products.
        values = jnp.pad(wide(v), ((0, 0), (0, 1)), constant_values=1.0)
        shares = jnp.exp(scores - extend(top)[joined(rounds.queries)][:, :, None])
        answers = extend(values)[joined(rounds.keys)]
        sums = jnp.einsum("lcw,lwu->lcu", shares, answers)
        sums = to_tokens(sums, rounds.slots).sum(axis=0)
        sums = sums + jnp.exp(own - top)[:, None] * values
        total = sums[:, -1:]
        return (sums[:, :-1] / jnp.where(total == 0, 1.0, total)).astype(v.dtype)


FAR = 1 << 29
"""A distance larger than that of any two buckets or chunks."""


def inverse_length(x: Float[Array, "T H"]) -> Float[Array, "T"]:
    """Computes 1 / |x|, at least float32; 1 where x is 0."""
    squares = jnp.square(wide(x)).sum(axis=1)
    return lax.rsqrt(jnp.where(squares == 0, 1.0, squares))


def scores_of(
    rounds: Round,
    q: Float[Array, "T H"],
    k: Float[Array, "T H"],
    scale: float,
    ahead: int,
) -> Float[Array, "rL C W"]:
    """Scores minus log N, N the rounds that show the pair; -inf where hidden.

    A token's own position is left out, for it is added once beside all rounds.
    """
    r, L = rounds.queries.shape[:2]
    t, s = joined(rounds.queries), joined(rounds.keys)
    # Empty slots are so far off that they share no bucket with any token.
    of_q, of_k = extend(rounds.of_q.T, -FAR)[t], extend(rounds.of_k.T, FAR)[s]
    gap = of_k[:, None, :] - of_q[:, :, None]
    near = (gap >= -1) & (gap <= ahead)
    this = jnp.repeat(jnp.eye(r, dtype=bool), L, axis=0)[:, None, None]
    t, s = t[:, :, None], s[:, None, :]
    shown = (near & this).any(axis=3) & ((t != s) if ahead else (s < t))
    scores = jnp.einsum(
        "lch,lwh->lcw",
        extend(q)[t[:, :, 0]],
        extend(k)[s[:, 0]],
        preferred_element_type=sums_dtype(q),
    )
    scores = scores * scale - jnp.log(jnp.maximum(near.sum(axis=3), 1))
    return jnp.where(shown, scores, -jnp.inf)


def joined(tiles: Int[Array, "r L C"]) -> Int[Array, "rL C"]:
    """Concatenates the tiles of all rounds."""
    return tiles.reshape(-1, tiles.shape[2])


def extend(x: Array, fill: int = 0) -> Array:
    """Appends a row to x for the padding token T."""
    return jnp.pad(x, ((0, 1), *[(0, 0)] * (x.ndim - 1)), constant_values=fill)


def to_tokens(tiles: Array, slots: Int[Array, "r T"]) -> Array:
    """Reads each token's slot of the tiles [rL, C, ...], by round: [r, T, ...]."""
    flat = tiles.reshape(-1, *tiles.shape[2:])
    before = jnp.arange(len(slots)) * (len(flat) // len(slots))
    return flat[slots + before[:, None]]
