"""The prompt of decoding: attention over all of it at once, and the cache it leaves."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.attention.api import attend
from attn.attention.cache_shards import Cache, on_devices
from attn.attention.key_cache import KeyCache
from attn.attention.state_cache import StateCache, require_values
from attn.errors import UserError
from attn.kernels.base import Kernel, Weights
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask
from attn.masks.lifetime import slots
from attn.positions import RelativeBias


def prefill(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K Hv"],
    cache: Cache,
    *,
    mask: Mask,
    info: TokenInfo = NO_INFO,
    bias: RelativeBias | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    impl: str = "auto",
) -> tuple[Float[Array, "B T N Hv"], Cache]:
    """Attends over a prompt, as `attend` does, and fills an empty cache with it.

    Args:
        info: which tokens are padding, wherever it lies, and the positions of the
            others: 0, 1, 2, ... unless given, padding counted.

    Returns:
        The output, 0 at padding by `info.lengths`, and the cache.
    """
    given = {"mask": mask, "info": info, "weights": weights}
    out = attend_prompt(
        kernel, q, k, v, cache, **given, bias=bias, scale=scale, impl=impl
    )
    return out, fill(kernel, q, k, v, cache, **given)


def attend_prompt(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K Hv"],
    cache: Cache,
    *,
    mask: Mask,
    info: TokenInfo = NO_INFO,
    bias: RelativeBias | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    impl: str = "auto",
) -> Float[Array, "B T N Hv"]:
    """Attends over a prompt as `prefill` does, and leaves the cache as it is."""
    if not isinstance(bias, RelativeBias | None):
        raise UserError(
            "bias is an array; decoding takes one by distance, from attn.positions"
        )
    rule, pattern, at_positions = kernel, mask, isinstance(cache, KeyCache)
    if isinstance(cache, KeyCache):
        rule, pattern = kernel.on_cache(mask, cache.length)

    def local(heads, cache, info, own):
        at = _positions(info, pattern, heads[0]) if at_positions else None
        out = attend(
            rule,
            *heads,
            mask=pattern,
            bias=own[0],
            kv_mask=info.mask,
            q_positions=at,
            kv_positions=at,
            q_lengths=info.lengths,
            kv_lengths=info.lengths,
            weights=own[1],
            scale=scale,
            impl=impl,
        )
        return out, cache

    return on_devices(local, (q, k, v), None, info, (bias, weights))[0]


def _positions(info: TokenInfo, pattern: Mask, q: Array) -> Array | None:
    """The positions that a prompt's call needs; None where its own order serves."""
    B, T = q.shape[:2]
    if info.positions is not None:
        return info.positions
    try:
        pattern.check(T, T)
    except UserError:  # The mask was made for the whole sequence.
        return jnp.broadcast_to(jnp.arange(T), (B, T))
    return None


def fill(
    kernel: Kernel,
    q: Float[Array, "B T N Hq"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K Hv"] | None,
    cache: Cache,
    *,
    mask: Mask,
    info: TokenInfo = NO_INFO,
    weights: Weights | None = None,
) -> Cache:
    """Fills an empty cache with a prompt, whose outputs come from elsewhere.

    Args:
        q: as wide as the keys, but where the cache is `latent`.
        v: None where the cache is `latent`.

    Raises:
        UserError: the prompt is longer than the cache, or holds several documents.
    """
    if info.segment_ids is not None:
        raise UserError("segment_ids were given; decoding takes one sequence a row")
    if isinstance(cache, StateCache):
        require_values(kernel, v)
    elif cache.length < k.shape[1]:
        raise UserError(
            f"the prompt has T = {k.shape[1]} tokens and the cache was begun for L = "
            f"{cache.length}; begin a longer one"
        )
    local = partial(_fill, kernel, mask)
    return on_devices(local, (q, k, v), cache, info, weights, reads=False)


def _fill(
    kernel: Kernel, mask: Mask, heads: Any, cache: Cache, info: TokenInfo, weights: Any
) -> Cache:
    """Fills the cache of one device."""
    q, k, v = heads
    B, T = k.shape[:2]
    real = info.real(T)
    real = jnp.ones((B, T), bool) if real is None else real
    if isinstance(cache, StateCache):
        return cache.filled(kernel, q, k, v, real, weights)
    table = slots(kernel.kept(mask, cache.length), cache.length)
    return cache.filled(k, v, jnp.broadcast_to(info.index(T), (B, T)), real, table)
