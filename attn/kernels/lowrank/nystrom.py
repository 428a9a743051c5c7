"""Nystromformer: the softmax map approximated from landmarks."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, matmul_flops, wide
from attn.kernels.dense import clean, dense_attention
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask


@dataclass(frozen=True)
class Nystrom(Kernel):
    """The Nystrom approximation F A^+ (B v) of softmax attention from landmarks.

    F = softmax(q k~^T s), A = softmax(q~ k~^T s) and B = softmax(q~ k^T s) with
    s = 1 / sqrt(H): Xiong et al. 2021, Nystromformer, section 3.

    q~ and k~ are L landmarks, means of L consecutive segments of real tokens, as equal
    as can be. O((T + S) L) time and memory, and O(L^3) for the pseudo-inverse, which is
    iterated (`pseudo_inverse`). Exact at convergence where L = T = S; else the error is
    what the landmarks miss. Landmarks average over the whole sequence, so it cannot be
    causal; rows of the map sum to 1 only when the iteration has converged.

    A mask of the keys is taken as the padding of the queries too where T = S, which is
    taken for self-attention: such queries are in no landmark. Where T != S all queries
    count. Segments without tokens, on sequences shorter than L, take no part in F, A or
    B.

    The paper adds a depthwise convolution of the values to the output; here that is the
    layer `short_conv`. The first guess has the norms of each A, as in its equation; its
    code takes the largest of the batch.
    """

    name = "nystrom"
    family = "lowrank"
    can: ClassVar[frozenset[str]] = frozenset(
        {"bidirectional", "cross", "key_padding", "scale", "map"}
    )
    least: ClassVar = {"num_landmarks": 1, "iterations": 1}
    within = ("num_landmarks",)
    mixes_queries = True

    num_landmarks: int = 32
    """Landmarks (means) of the queries, and of the keys, L."""
    iterations: int = 6
    """Iterations for the pseudo-inverse of A."""

    def flops(self, T, S, H, Hv, mask):
        L = self.num_landmarks
        means = matmul_flops(T + S, L, H)
        products = matmul_flops(T + S, L, H + Hv) + matmul_flops(L, L, H + L + Hv)
        return means + products + self.iterations * matmul_flops(4, L, L, L)

    def state_size(self, S, H, Hv, mask):
        return S * (H + Hv)

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
        """Attends: [T, Hv] in the dtype of `v`; without real keys it is 0."""
        dtype, L, kv_ids = v.dtype, self.num_landmarks, kv_info.ids(len(k))
        q, k, v = map(wide, (q, k, v))
        q_ids = kv_ids if len(q) == len(k) else None
        (mean_q, of_q), (mean_k, of_k) = landmarks(q, q_ids, L), landmarks(k, kv_ids, L)
        attend = partial(_attend, scoring=scoring)
        A = attend(mean_q, mean_k, jnp.eye(L, dtype=v.dtype), of_k)
        inverse = pseudo_inverse(clean(A, of_q), self.iterations)
        values = precise(inverse, attend(mean_q, k, v, kv_ids))
        return attend(q, mean_k, values, of_k).astype(dtype)


def _attend(q: Array, k: Array, v: Array, kv_ids: Array | None, scoring) -> Array:
    info = TokenInfo(segment_ids=kv_ids)
    return dense_attention(q, k, v, mask=FULL, scoring=scoring, kv_info=info)[0]


precise = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def landmarks(
    x: Float[Array, "T H"], ids: Int[Array, "T"] | None, L: int
) -> tuple[Float[Array, "L H"], Int[Array, "L"]]:
    """Means of L segments of the real tokens; and ids, -1 for an empty segment, else 0.

    Of n real tokens the r-th is in segment floor(r L / n): by rank among the real ones,
    so padding moves no token.
    """
    real = jnp.full(len(x), True) if ids is None else ids >= 0
    rank = jnp.cumsum(real) - 1
    segment = rank * L // jnp.maximum(real.sum(), 1)
    member = (segment[None, :] == jnp.arange(L)[:, None]) & real[None, :]
    count = member.sum(axis=1)
    share = member / jnp.maximum(count, 1).astype(x.dtype)[:, None]
    return share @ clean(x, ids), jnp.where(count > 0, 0, -1)


def pseudo_inverse(A: Float[Array, "L L"], iterations: int) -> Float[Array, "L L"]:
    """Iterates Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4 to A^+ (section 3).

    Z starts as A^T / (||A||_1 ||A||_inf). Where A Z is off the identity by a small e,
    it is by about 3/4 e^3 after a step. Before that, what Z knows of a singular value s
    grows 13/4-fold a step from s^2 / (||A||_1 ||A||_inf): few iterations leave out the
    small ones, which is a mild error of F A^+ B, as they are small in F and B as well.
    Rounding errors grow likewise in the null space of A: more iterations are no better
    where A is singular. Rows and columns of zeros stay zeros.
    """
    I = jnp.eye(len(A), dtype=A.dtype)  # noqa: E741
    size = jnp.abs(A)
    norms = size.sum(axis=0).max() * size.sum(axis=1).max()
    Z = A.T / jnp.where(norms == 0, 1, norms)

    def step(_, Z):
        AZ = precise(A, Z)
        return precise(Z, 13 * I - precise(AZ, 15 * I - precise(AZ, 7 * I - AZ))) / 4

    return lax.fori_loop(0, iterations, step, Z, unroll=6)
