"""tokamax's GPU flash attention (Mosaic on Hopper and Blackwell, else Triton).

Its public call has no key intervals, so the kernels behind it are called: the release
is pinned, and read here is its `_src.ops.attention`.
"""

import sys
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention.backends.base import Backend, keep, lowered
from attn.device import device_kind, generation
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import Mask

VERSION = "0.0.12"
"""The last release that supports Python 3.11 and jax 0.10; its kernels call what jax
0.11 has removed."""


@dataclass(frozen=True)
class Tokamax(Backend):
    """tokamax's kernel: masks of one key interval a query; lengths; a bias."""

    name = "tokamax"
    source = "tokamax.dot_product_attention(implementation=('mosaic', 'triton'))"
    packages = ("tokamax",)
    install = f"install the extra attn[tokamax], then pip install --no-deps tokamax=={VERSION}"
    vendor = "NVIDIA"
    least_generation = 8.0
    dtypes = ("bfloat16", "float16")
    can: ClassVar[frozenset[str]] = frozenset({"scale", "lengths", "bias"})
    head_multiple = 8
    head_max = 256
    own_value_dim = True

    def _installed(self, shape):
        reason = super()._installed(shape)
        if reason is None and jax.__version_info__ >= (0, 11):
            return f"tokamax {VERSION} runs on jax 0.10; here is jax {jax.__version__}"
        return reason

    def _mask(self, shape):
        if shape.mask.row_interval(shape.T, shape.S) is None:
            return f"mask {shape.mask} shows some query more than one interval of keys"
        return None

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        # Mosaic asks the device itself, so it cannot be compiled where there is none.
        here = jax.default_backend() == "gpu"
        mosaic = here and 9 <= (generation(device_kind()) or 0) < 12
        names = ("mosaic_gpu", "triton") if mosaic else ("triton",)
        return self.attend(q, k, v, mask, scoring, q_info, kv_info, names)

    @staticmethod
    def attend(
        q: Array,
        k: Array,
        v: Array,
        mask: Mask,
        scoring: Scoring,
        q_info: TokenInfo,
        kv_info: TokenInfo,
        names: tuple[str, ...],
    ) -> Array:
        """Calls the first implementation in `names` that can run, by intervals."""
        T, S, H = q.shape[1], k.shape[1], q.shape[-1]
        ranges, sees = intervals(mask, T, S, kv_info.lengths)
        api, base = kernels()
        options = {"bias": scoring.bias, "logits_scale": scoring.factor(H)}
        options["mask"] = base.Mask(**ranges)
        *first, last = (api.IMPLEMENTATIONS[name] for name in names)
        for kernel in first:
            try:
                return seen(kernel(q, k, v, **options), sees, q_info)
            except NotImplementedError:
                continue
        return seen(last(q, k, v, **options), sees, q_info)


def seen(out: Array, sees: Array | None, q_info: TokenInfo) -> Array:
    """The output, with 0 for queries that see nothing or are padding."""
    return keep(keep(out, sees), q_info.real(out.shape[1]))


def intervals(
    mask: Mask, T: int, S: int, kv_lengths: Array | None
) -> tuple[dict[str, Any], Any]:
    """Translates the mask to tokamax's; also which queries see any key [B or 1, T].

    A query that sees nothing is shown key 0, which keeps its row finite inside the
    kernel; the caller drops it.
    """
    start, end = lowered(mask.row_interval(T, S), mask)
    start, end = np.asarray(start)[None], np.asarray(end)[None]
    causal = bool((end == np.minimum(np.arange(T) + 1, S)).all())
    if kv_lengths is not None:
        end = jnp.minimum(end, kv_lengths[:, None])
    sees = start < end
    static = isinstance(sees, np.ndarray)
    where = np.where if static else jnp.where
    start, end = where(sees, start, 0), where(sees, end, 1)
    ranges: dict[str, Any] = {"is_causal": causal}
    if not static or start.any():
        ranges["k_start"] = jnp.asarray(start, jnp.int32)[:, None]
    if not static or not (causal or (end == S).all()):
        ranges["k_end"] = jnp.asarray(end, jnp.int32)[:, None]
    return ranges, None if static and sees.all() else jnp.asarray(sees)


@cache
def library() -> ModuleType:
    """Imports tokamax.

    It pins typeguard 2, which our command line cannot live with, and uses of it one
    decorator that checks annotations. While it is imported it sees one that does not.
    """
    from absl import flags

    stand_in, kept = ModuleType("typeguard"), sys.modules.get("typeguard")
    stand_in.typechecked = lambda function: function  # pyright: ignore
    sys.modules["typeguard"] = stand_in
    try:
        import tokamax  # pyright: ignore[reportMissingImports]
    finally:
        del sys.modules["typeguard"]
        if kept is not None:
            sys.modules["typeguard"] = kept
    if not flags.FLAGS.is_parsed():
        # It would parse our own command line otherwise.
        flags.FLAGS.mark_as_parsed()
    if jax.default_backend() != "gpu":
        # A flag, as the library's context would have been left before the gradient runs.
        flags.FLAGS.tokamax_cross_compile = True
    return tokamax


def kernels() -> tuple[Any, Any]:
    """The modules of the kernels by name, and that of the key-interval mask."""
    library()
    from tokamax._src.ops.attention import (  # pyright: ignore[reportMissingImports]
        api,
        base,
    )

    return api, base
