"""cuDNN's flash attention, through `jax.nn.dot_product_attention`."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention.backends.base import Backend, keep, lowered
from attn.device import generation
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import Mask


@dataclass(frozen=True)
class Cudnn(Backend):
    """cuDNN's kernel: full, causal and causal-window masks; lengths of sequences.

    cuDNN masks by flags alone, to which the mask must be equal. Lengths with a window
    are unsupported: a query whose window lies past the last key would see nothing
    inside the kernel, and what cuDNN makes of such a row is not documented.
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

    def _head_dims(self, shape):
        # jax takes the generation from the default device, so over 128 does not compile
        # on a machine without the GPU.
        here = jax.default_backend() == "gpu" and (generation(shape.device) or 0) >= 9
        if shape.H > 128 and not here:
            return f"head dim {shape.H}; it takes up to 128 but on a Hopper GPU at hand"
        return super()._head_dims(shape)

    def _mask(self, shape):
        band = shape.mask.band(shape.T, shape.S)
        if band is None:
            return (
                f"mask {shape.mask} is no band of diagonals; it takes a full, a causal and "
                "a left-windowed one"
            )
        left, right = band
        window = left is None or (left >= 0 and right == 0)
        if right not in (None, 0) or not window:
            return (
                f"mask {shape.mask} is the band ({left}, {right}); it takes (None, None), "
                "(None, 0) and (left, 0)"
            )
        return None

    def _lengths(self, shape):
        left, _ = shape.mask.band(shape.T, shape.S) or (None, None)
        if left is not None and shape.T != shape.S:
            return f"T = {shape.T} and S = {shape.S} under a window; it takes T = S"
        if left is not None and "lengths" in shape.required:
            return (
                f"lengths under the window of {shape.mask}; a query could see nothing"
            )
        return None

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        return self.attend(q, k, v, mask, scoring, q_info, kv_info, "cudnn")

    @staticmethod
    def attend(
        q: Array,
        k: Array,
        v: Array,
        mask: Mask,
        scoring: Scoring,
        q_info: TokenInfo,
        kv_info: TokenInfo,
        implementation: Literal["cudnn", "xla"],
    ) -> Array:
        """Calls `jax.nn`'s attention with an `implementation`, the mask as flags."""
        T, H = q.shape[1], q.shape[-1]
        options: dict[str, Any] = flags(mask, T, k.shape[1]) | lengths(q_info, kv_info)
        options |= {"scale": scoring.factor(H), "implementation": implementation}
        out = jax.nn.dot_product_attention(q, k, v, **options)
        return keep(out, q_info.real(T))


def flags(mask: Mask, T: int, S: int) -> dict[str, Any]:
    """Translates the mask to the arguments of `jax.nn.dot_product_attention`."""
    left, right = lowered(mask.band(T, S), mask)
    window = None if left is None else (left, 0)
    return {"is_causal": right == 0, "local_window_size": window}


def lengths(q_info: TokenInfo, kv_info: TokenInfo) -> dict[str, Array]:
    """Lengths of the sequences, at least 1: a row without keys would be NaN.

    The one key of an empty sequence is zero, so it gives 0; the one query of an empty
    sequence is dropped afterwards.
    """
    given = {
        "query_seq_lengths": q_info.lengths,
        "key_value_seq_lengths": kv_info.lengths,
    }
    return {
        name: jnp.maximum(x, 1).astype(np.int32)
        for name, x in given.items()
        if x is not None
    }
