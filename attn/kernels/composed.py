"""The base of mechanisms composed of softmax attentions on arrays that they make."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
from jaxtyping import Array, Float

from attn.kernels.base import Kernel, Weights
from attn.kernels.dense import dense_attention
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask

SoftmaxOf = Callable[[Array, Array, Array, float | None], Array]
"""A function of q, k, v and scale to the output, under the mask and token info of the
call."""


@dataclass(frozen=True)
class Composed(Kernel):
    """A mechanism composed of softmax attentions; a subclass defines `compose` alone.

    By definition each is `dense_attention` of one head (`dense`). On long sequences
    each is a call over all heads, which visits tiles for a few heads at a time
    (`blockwise`): tiles of one head under `vmap` would be tiles of all heads at once.
    """

    implementations = ("dense", "blockwise")
    over_all_heads = True

    def compose(
        self,
        softmax: SoftmaxOf,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        weights: Weights,
        scale: float | None,
    ) -> Float[Array, "B T N Hv"]:
        """Computes the output of all heads by calls of `softmax`.

        Args:
            softmax: takes q [#B, T, N, R], k [#B, S, K or N, R], v as it is here, and a
                scale; gives [B, T, N, Hv].
            weights: stacked over N heads in front.
        """
        raise NotImplementedError

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "S H"],
        v: Float[Array, "S Hv"],
        *,
        mask: Mask,
        weights: Weights,
        scoring: Scoring = PLAIN,
        q_info: TokenInfo = NO_INFO,
        kv_info: TokenInfo = NO_INFO,
    ) -> Float[Array, "T Hv"]:
        """Attends by definition: [T, Hv]; a query that sees nothing gives 0."""

        def softmax(q: Array, k: Array, v: Array, scale: float | None) -> Array:
            q, k, v = (x[0, :, 0] for x in (q, k, v))
            own = replace(scoring, scale=scale)
            out, _ = dense_attention(
                q, k, v, mask=mask, scoring=own, q_info=q_info, kv_info=kv_info
            )
            return out[None, :, None]

        q, k, v = (x[None, :, None] for x in (q, k, v))
        own = jax.tree.map(lambda w: w[None], weights)
        return self.compose(softmax, q, k, v, own, scoring.scale)[0, :, 0]
