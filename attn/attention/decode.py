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
from attn.attention.state_cache import StateCache, empty_state, require_values
from attn.errors import UserError
from attn.kernels.base import Kernel, Weights
from attn.kernels.sparse.base import looks_ahead
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Causal, Mask
from attn.masks.lifetime import num_slots, slots
from attn.positions import RelativeBias


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
