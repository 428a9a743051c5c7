"""cuDNN's flash attention, through `jax.nn.dot_product_attention`."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention.backends.base import Backend, Extras, keep, lowered, real_queries
from attn.device import generation
from attn.masks import Mask


@dataclass(frozen=True)
class Cudnn(Backend):
    """Full, causal, and causal with a window to the left; lengths of each sequence.

    cuDNN masks by flags alone, so that is all a mask may come to. Lengths with a window
    are refused: a query whose window lies past the last key would see nothing inside
    the kernel, and what cuDNN makes of such a row is not documented.
    """

    name = "cudnn"
    source = "jax.nn.dot_product_attention(implementation='cudnn')"
    packages = ("jax_cuda13_plugin", "jax_cuda12_plugin")
    install = "install the extra attn[cuda]"
    vendor = "NVIDIA"
    least_generation = 8.0
    dtypes = ("bfloat16", "float16")
    can: ClassVar[frozenset[str]] = frozenset({"scale", "lengths"})
    head_multiple = 8
    head_max = 256
    own_value_dim = False

    def _head_dims(self, ask):
        # jax reads the generation off the default device, so over 128 does not compile
        # on a machine without the GPU.
        here = jax.default_backend() == "gpu" and (generation(ask.device) or 0) >= 9
        if ask.H > 128 and not here:
            return f"head dim {ask.H}; it takes up to 128 but on a Hopper GPU at hand"
        return super()._head_dims(ask)

    def _mask(self, ask):
        band = ask.mask.band(ask.T, ask.S)
        if band is None:
            return (
                f"mask {ask.mask} is no band of diagonals; it takes a full, a causal and "
                "a left-windowed one"
            )
        left, right = band
        window = left is None or (left >= 0 and right == 0)
        if right not in (None, 0) or not window:
            return (
                f"mask {ask.mask} is the band ({left}, {right}); it takes (None, None), "
                "(None, 0) and (left, 0)"
            )
        return None

    def _lengths(self, ask):
        left, _ = ask.mask.band(ask.T, ask.S) or (None, None)
        if left is not None and ask.T != ask.S:
            return f"T = {ask.T} and S = {ask.S} under a window; it takes T = S"
        if left is not None and "lengths" in ask.asked:
            return f"lengths under the window of {ask.mask}; a query could see nothing"
        return None

    def local(self, q, k, v, mask, scale, softcap, extras):
        return self.attend(q, k, v, mask, scale, extras, "cudnn")

    @staticmethod
    def attend(
        q: Array,
        k: Array,
        v: Array,
        mask: Mask,
        scale: float,
        extras: Extras,
        implementation: Literal["cudnn", "xla"],
    ) -> Array:
        """The call with the mask as flags, by an `implementation` of `jax.nn`."""
        options: dict[str, Any] = flags(mask, q.shape[1], k.shape[1]) | lengths(extras)
        out = jax.nn.dot_product_attention(
            q, k, v, scale=scale, implementation=implementation, **options
        )
        return keep(out, real_queries(q, extras))


def flags(mask: Mask, T: int, S: int) -> dict[str, Any]:
    """The mask in the words of `jax.nn.dot_product_attention`."""
    left, right = lowered(mask.band(T, S), mask)
    window = None if left is None else (left, 0)
    return {"is_causal": right == 0, "local_window_size": window}


def lengths(extras: Extras) -> dict[str, Array]:
    """Lengths, at least 1: a row with no key would be NaN.

    The key that is then left of none was made a zero, so it gives 0; a query that is
    left of none is dropped after.
    """
    names = {"q_lengths": "query_seq_lengths", "kv_lengths": "key_value_seq_lengths"}
    given = {names[ours]: x for ours, x in extras.items() if ours in names}
    return {
        theirs: jnp.maximum(x, 1).astype(np.int32)
        for theirs, x in given.items()
        if x is not None
    }
