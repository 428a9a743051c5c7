"""The base of mechanisms that are softmax attention on arrays which they make."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Int

from attn.kernels.base import Kernel, Weights
from attn.kernels.dense import dense_attention
from attn.masks import Mask

SoftmaxOf = Callable[[Array, Array, Array, float | None], Array]
"""q, k, v and scale to the output, under the mask and the marks of the call."""


@dataclass(frozen=True)
class Composed(Kernel):
    """Says in `compose` which softmax attentions it is made of, and no more.

    By definition each is `dense_attention` of one head (`dense`). On long texts each is
    a call of all heads, which walks through tiles a few heads at a time (`blockwise`):
    tiles of one head under `vmap` would be tiles of all heads at once.
    """

    implementations = ("dense", "blockwise")
    lifted = True

    def compose(
        self,
        softmax: SoftmaxOf,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        weights: Weights,
        scale: float | None,
    ) -> Float[Array, "B T N Hv"]:
        """The output of all heads, by way of `softmax`.

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
        scale: float | None = None,
        q_ids: Int[Array, "T"] | None = None,
        kv_ids: Int[Array, "S"] | None = None,
        q_positions: Int[Array, "T"] | None = None,
        kv_positions: Int[Array, "S"] | None = None,
    ) -> Float[Array, "T Hv"]:
        """Attends by definition: [T, Hv]; a query that sees nothing gives 0."""

        def softmax(q: Array, k: Array, v: Array, scale: float | None) -> Array:
            q, k, v = (x[0, :, 0] for x in (q, k, v))
            out, _ = dense_attention(
                q,
                k,
                v,
                mask=mask,
                scale=scale,
                q_ids=q_ids,
                kv_ids=kv_ids,
                q_positions=q_positions,
                kv_positions=kv_positions,
            )
            return out[None, :, None]

        q, k, v = (x[None, :, None] for x in (q, k, v))
        own = jax.tree.map(lambda w: w[None], weights)
        return self.compose(softmax, q, k, v, own, scale)[0, :, 0]
