"""Decoding below the model: a cache for each layer, filled by a prompt, then by steps.

    cache = begin(kernel, mask, B, L, heads=(N, K), widths=(H, Hv), dtype=dtype)
    out, cache = prefill(kernel, q, k, v, cache, mask=mask, info=info)
    out, cache = step(kernel, q, k, v, cache, mask=mask, positions=positions)

What is given is rotated already. Each output is that of `attend` on the whole
sequence, under a mask that looks back. Under `jax.jit`, and in its loops with the cache
as carry, a step changes the cache in place. On a mesh each device keeps its own rows and
heads (`cache_shards`).
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attn.attention.api import attend
from attn.attention.cache_shards import (
    Cache,
    check_mesh,
    kept_heads,
    lay_cache,
    on_devices,
)
from attn.attention.key_cache import EMPTY, KeyCache, empty_keys
from attn.attention.prompt import attend_prompt, fill, prefill
from attn.attention.state_cache import StateCache, empty_state, require_values
from attn.errors import UserError
from attn.kernels.base import Kernel, Weights
from attn.kernels.sparse.base import looks_ahead
from attn.masks import Causal, Mask
from attn.masks.lifetime import num_slots, slots
from attn.positions import RelativeBias

__all__ = [
    "Cache",
    "KeyCache",
    "StateCache",
    "attend_prompt",
    "begin",
    "fill",
    "prefill",
    "step",
]


def begin(
    kernel: Kernel,
    mask: Mask,
    B: int,
    L: int,
    *,
    heads: tuple[int, int],
    widths: tuple[int, int],
    dtype: Any = jnp.float32,
    latent: bool = False,
) -> Cache:
    """Makes the empty cache of a layer.

    Args:
        mask: what the layer's queries may see; it must look back alone.
        B: sequences.
        L: the longest sequence that is decoded, prompt included.
        heads: query heads N, and key/value heads K.
        widths: of a key H, and of a value Hv.
        dtype: of cached keys and values; a state is float32.
        latent: whether a value is the first Hv channels of its key, and not kept beside
            it.

    Raises:
        UserError: the kernel does not decode, or not under this mask, or not on this
            mesh.
    """
    check_mesh(mask, B, *heads)
    if "decoding" not in kernel.can:
        raise kernel.unable("decoding", "asked to decode")
    if looks_ahead(kernel.pattern(mask, L, L), L, L):
        raise UserError(
            f"mask {mask} shows a query later keys, which decoding does not have yet; "
            "take one that looks back, such as Causal()"
        )
    kernel.check(mask, L, L)
    kernel.check_head(*widths)
    if kernel.keeps == "keys":
        C, K = num_slots(kernel.kept(mask, L), L), kept_heads(heads[1])
        return lay_cache(empty_keys(B, C, K, widths, L, dtype, latent))
    if latent:
        raise UserError(f"latent: kernel {kernel.name!r} keeps a state and no keys")
    return lay_cache(empty_state(kernel, B, (heads[0], kept_heads(heads[1])), widths))


def step(
    kernel: Kernel,
    q: Float[Array, "B 1 N H"],
    k: Float[Array, "B 1 K H"],
    v: Float[Array, "B 1 K Hv"] | None,
    cache: Cache,
    *,
    mask: Mask,
    positions: Int[Array, "B 1"],
    bias: RelativeBias | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    active: Bool[Array, "B"] | None = None,
) -> tuple[Float[Array, "B 1 N Hv"], Cache]:
    """Decodes one token of each row: writes it to the cache, and attends over that.

    Args:
        v: None where the cache is `latent`.
        positions: of the tokens, each after all that its row has, and below L: one from
            L on is not kept.
        active: where False the row keeps its cache, and its output means nothing.
    """
    if isinstance(cache, StateCache):
        require_values(kernel, v)
        for name, given in (("bias", bias), ("scale", scale)):
            if given is not None:
                raise kernel.unable(name, "asked to decode with one")
    local, rows = partial(_step, kernel, mask, scale), (positions, active)
    return on_devices(local, (q, k, v), cache, rows, (bias, weights))


def _step(
    kernel: Kernel,
    mask: Mask,
    scale: float | None,
    heads: Any,
    cache: Cache,
    rows: Any,
    own: Any,
) -> tuple[Array, Cache]:
    """Decodes one token of each row and head of one device."""
    (q, k, v), (positions, active), (bias, weights) = heads, rows, own
    if isinstance(cache, StateCache):
        return cache.advanced(kernel, q, k, v, weights, active)
    L = cache.length
    cache = cache.written(k, v, positions, active, slots(kernel.kept(mask, L), L))
    rule, pattern = kernel.on_cache(mask, L)
    at = cache.positions
    out = attend(
        rule,
        q,
        cache.keys.astype(q.dtype),
        cache.values.astype(q.dtype),
        # An empty slot is beyond every query: cheaper than as padding, which is set to
        # 0 in a copy of the cache.
        mask=pattern & Causal(),
        q_positions=positions,
        kv_positions=jnp.where(at == EMPTY, L, at),
        bias=bias,
        weights=weights,
        scale=scale,
        impl=rule.implementations[0],
    )
    return out, cache
