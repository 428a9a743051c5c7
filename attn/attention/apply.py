"""Under `attend`: the layout of a call over masks, heads, groups and batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention.backends import BACKENDS
from attn.attention.call import Call
from attn.attention.choose import note
from attn.attention.tiles import blockwise
from attn.errors import UserError
from attn.kernels import Softmax
from attn.kernels.composed import Composed
from attn.kernels.dense import NO_KEY
from attn.masks import Mask, PerHead
from attn.parallel.heads import for_all, join, plain, split, spread, ways
from attn.parallel.shard import explicit_spec
from attn.positions import RelativeBias


def run(request: Call, impl: str, lse: bool = False) -> Any:
    """The output [B, T, N, Hv], and with `lse` the log-sum-exp [B, T, N] beside it."""
    if isinstance(request.mask, PerHead):
        return _by_mask(request, request.mask, impl, lse)
    chosen, _ = request.resolve(impl, lse)
    note(request.kernel, chosen, "")
    if chosen in BACKENDS:
        return _fused(request, chosen)
    k, v = spread(request.q, request.k, request.v)
    request = replace(request, k=k, v=v)
    if isinstance(request.kernel, Composed) and chosen == "blockwise":
        out = _composed(request, request.kernel)
    elif request.kernel.lifted and chosen == "blockwise":
        out = _tiles(request, lse)
    else:
        out = _one_head(request, chosen, lse)
    if request.q_lengths is None:
        return out
    real = jnp.arange(request.q.shape[1])[None] < request.q_lengths[:, None]
    if not lse:
        return jnp.where(real[..., None, None], out, 0)
    out, own = out
    return (
        jnp.where(real[..., None, None], out, 0),
        jnp.where(real[..., None], own, -jnp.inf),
    )


def _by_mask(request: Call, mask: PerHead, impl: str, lse: bool) -> Any:
    """Each mask on its own heads, then the heads in their order again."""
    spec = explicit_spec(request.q)
    if spec is not None and spec[2] is not None and ways(request.q, spec[2]) > 1:
        raise UserError(
            f"a mask for each head needs all {request.q.shape[2]} heads on each device; "
            f"the mesh divides them over {spec[2]!r}"
        )
    N, K = request.q.shape[2], request.k.shape[2]
    outs, order = [], []
    for one, heads in _heads_by_mask(mask.masks, N // K):
        outs.append(run(_pick(request, one, heads), impl, lse))
        order.extend(heads)
    back = np.argsort(order)
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=2)[:, :, back], *outs)


def _heads_by_mask(masks: tuple[Mask, ...], G: int) -> list[tuple[Mask, list[int]]]:
    """Heads of one mask, equally many of each key/value head that they read."""
    groups: dict[tuple[Mask, int], list[int]] = {}
    for mask in dict.fromkeys(masks):
        own = [n for n, other in enumerate(masks) if other == mask]
        for n in own:
            sharing = sum(other // G == n // G for other in own)
            groups.setdefault((mask, sharing), []).append(n)
    return [(mask, heads) for (mask, _), heads in groups.items()]


def _pick(request: Call, mask: Mask, heads: list[int]) -> Call:
    """The call of some of its heads, under one mask."""
    G = request.q.shape[2] // request.k.shape[2]
    kv = np.array(sorted({n // G for n in heads}))
    own, bias = np.array(heads), request.bias
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda x: x[own], bias)
    elif bias is not None and bias.shape[1] > 1:
        bias = bias[:, own]
    return replace(
        request,
        mask=mask,
        bias=bias,
        q=request.q[:, :, own],
        k=request.k[:, :, kv],
        v=request.v[:, :, kv],
        weights=jax.tree.map(lambda x: x[own], request.weights),
    )


def _ids(request: Call) -> tuple[Array | None, Array | None]:
    """One number for each query and each key: its segment, or `NO_KEY`."""
    real, kv_ids = request.kv_mask, request.kv_segment_ids
    if request.kv_lengths is not None:
        within = jnp.arange(request.k.shape[1])[None] < request.kv_lengths[:, None]
        real = within if real is None else real & within
    if real is not None:
        kv_ids = jnp.zeros_like(real, jnp.int32) if kv_ids is None else kv_ids
        kv_ids = jnp.where(real, kv_ids, NO_KEY)
    return request.q_segment_ids, kv_ids


def _sinks(request: Call) -> Array | None:
    return request.weights["sink"] if "sinks" in request.asked else None


def _fused(request: Call, name: str) -> Array:
    """A library's kernel, which takes all heads at once."""
    q_ids, kv_ids = _ids(replace(request, kv_lengths=None))
    return BACKENDS[name](
        request.q,
        request.k,
        request.v,
        mask=request.pattern,
        scale=request.scale,
        softcap=getattr(request.kernel, "softcap", None),
        bias=request.bias,
        sinks=_sinks(request),
        q_ids=q_ids,
        kv_ids=kv_ids,
        q_lengths=request.q_lengths,
        kv_lengths=request.kv_lengths,
    )


def _tiles(request: Call, lse: bool) -> Any:
    """Our tiles, which take all heads and walk through them a few at a time."""
    q_ids, kv_ids = _ids(request)
    out = blockwise(
        request.q,
        request.k,
        request.v,
        mask=request.pattern,
        scale=request.scale,
        softcap=getattr(request.kernel, "softcap", None),
        bias=request.bias,
        sinks=_sinks(request),
        q_ids=q_ids,
        kv_ids=kv_ids,
        q_positions=request.q_positions,
        kv_positions=request.kv_positions,
    )
    return out if lse else out[0]


def _composed(request: Call, kernel: Composed) -> Array:
    """A mechanism made of softmax attentions: tiles of all heads for each of them."""
    whole = request.q
    bare = replace(request, kernel=Softmax(), weights=None)

    def softmax(q: Array, k: Array, v: Array, scale: float | None) -> Array:
        if k.shape[2] != v.shape[2]:
            v = for_all(v, whole)
        q, k = for_all(q, whole), for_all(k, v)
        return _tiles(replace(bare, q=q, k=k, v=v, scale=scale), lse=False)

    arrays = whole, request.k, request.v
    return kernel.compose(softmax, *arrays, request.weights, request.scale)


def _one_head(request: Call, form: str, lse: bool) -> Any:
    """The kernel on each head, by vmap over batch, key/value heads and groups."""
    kernel, (N, K) = request.kernel, (request.q.shape[2], request.k.shape[2])
    groups = (K, N // K)
    static: dict[str, Any] = {"mask": request.mask}
    if request.scale is not None:
        static["scale"] = request.scale
    if len(kernel.implementations) > 1 and not kernel.lifted:
        static["form"] = form
    call: Callable[..., Any] = getattr(kernel, "with_lse") if lse else kernel  # noqa: B009

    def grouped(axis: int):
        return lambda x: split(x, axis, groups)

    # name -> (array, its axis at each of the three maps: batch, K, G)
    arrays: dict[str, tuple[Any, tuple]] = {}
    if request.weights:
        stacked = jax.tree.map(grouped(0), request.weights)
        arrays["weights"] = (stacked, (None, 0, 0))
    if isinstance(request.bias, RelativeBias):
        arrays["bias"] = (jax.tree.map(grouped(0), request.bias), (None, 0, 0))
    elif request.bias is not None:
        arrays["bias"] = _shared(request.bias, grouped(1))
    q_ids, kv_ids = _ids(request)
    for name, x in (
        ("q_ids", q_ids),
        ("kv_ids", kv_ids),
        ("q_positions", request.q_positions),
        ("kv_positions", request.kv_positions),
    ):
        if x is not None:
            arrays[name] = (x, (0, None, None))

    def head(q, k, v, extra):
        return call(q, k, v, **static, **extra)

    values = {name: array for name, (array, _) in arrays.items()}
    for level, axes in ((2, (1, None, None)), (1, (1, 1, 1)), (0, (0, 0, 0))):
        extra = {name: where[level] for name, (_, where) in arrays.items()}
        head = jax.vmap(head, in_axes=(*axes, extra), out_axes=min(level, 1))
    k, v = (plain(x, 2) for x in (request.k, request.v))
    out = head(split(request.q, 2, groups), k, v, values)
    return jax.tree.map(lambda x: join(x, 2, explicit_spec(request.q)), out)


def _shared(bias: Array, grouped: Callable[[Array], Array]) -> tuple[Array, tuple]:
    """A bias [#B, #N, T, S], without the axes that it shares, and where the others are."""
    batch, heads = bias.shape[0] > 1, bias.shape[1] > 1
    bias = grouped(bias) if heads else bias[:, 0]
    axes = (0 if batch else None, *((0, 0) if heads else (None, None)))
    return (bias if batch else bias[0]), axes
