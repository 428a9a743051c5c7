"""The mapping of a one-head kernel over masks, heads, groups and batch."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention.backends import BACKENDS
from attn.attention.call import Call
from attn.attention.choose import choose_implementation, note
from attn.attention.tiles import blockwise
from attn.errors import UserError
from attn.kernels import Softmax
from attn.kernels.composed import Composed
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import Mask, PerHead
from attn.parallel.heads import for_all, join, plain, split, spread, ways
from attn.parallel.shard import explicit_spec
from attn.positions import RelativeBias


def run(call: Call, impl: str, lse: bool = False) -> Any:
    """Computes the output [B, T, N, Hv], and with `lse` the log-sum-exp [B, T, N]."""
    if isinstance(call.mask, PerHead):
        return _by_mask(call, call.mask, impl, lse)
    k, v = spread(call.q, call.k, call.v)
    call = replace(call, k=k, v=v)
    chosen, reasons = choose_implementation(call.kernel, call.shape(lse), impl)
    note(call.kernel, chosen, reasons[chosen])
    if chosen in BACKENDS:
        return BACKENDS[chosen](
            call.q,
            call.k,
            call.v,
            mask=call.pattern,
            scoring=call.whole_scoring,
            q_info=call.q_info,
            kv_info=call.kv_info,
            lse=lse,
        )
    # Outputs of padded queries are set to 0 below, whatever they see.
    real, q_info = call.q_info.real(call.q.shape[1]), call.q_info
    call = replace(call, q_info=TokenInfo(q_info.segment_ids, q_info.positions))
    out: Any
    if isinstance(call.kernel, Composed) and chosen == "blockwise":
        out = _composed(call, call.kernel)
    elif call.kernel.over_all_heads and chosen == "blockwise":
        both = blockwise(call)
        out = both if lse else both[0]
    else:
        out = _one_head(call, chosen, lse)
    if real is None:
        return out
    if not lse:
        return jnp.where(real[..., None, None], out, 0)
    out, own = out
    return (
        jnp.where(real[..., None, None], out, 0),
        jnp.where(real[..., None], own, -jnp.inf),
    )


def _by_mask(call: Call, mask: PerHead, impl: str, lse: bool) -> Any:
    """Runs the heads of each mask in a call of their own, then restores their order."""
    spec = explicit_spec(call.q)
    if spec is not None and spec[2] is not None and ways(call.q, spec[2]) > 1:
        raise UserError(
            f"a mask for each head needs all {call.q.shape[2]} heads on each device; "
            f"the mesh divides them over {spec[2]!r}"
        )
    N, K = call.q.shape[2], call.k.shape[2]
    outs, order = [], []
    for one, heads in _heads_by_mask(mask.masks, N // K):
        outs.append(run(_pick(call, one, heads), impl, lse))
        order.extend(heads)
    back = np.argsort(order)
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=2)[:, :, back], *outs)


def _heads_by_mask(masks: tuple[Mask, ...], G: int) -> list[tuple[Mask, list[int]]]:
    """Groups heads by mask; all key/value heads of a group serve equally many."""
    groups: dict[tuple[Mask, int], list[int]] = {}
    for mask in dict.fromkeys(masks):
        own = [n for n, other in enumerate(masks) if other == mask]
        for n in own:
            sharing = sum(other // G == n // G for other in own)
            groups.setdefault((mask, sharing), []).append(n)
    return [(mask, heads) for (mask, _), heads in groups.items()]


def _pick(call: Call, mask: Mask, heads: list[int]) -> Call:
    """Selects some heads of a call, under one mask."""
    G = call.q.shape[2] // call.k.shape[2]
    kv = np.array(sorted({n // G for n in heads}))
    own, bias = np.array(heads), call.scoring.bias
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda x: x[own], bias)
    elif bias is not None and bias.shape[1] > 1:
        bias = bias[:, own]
    return replace(
        call,
        mask=mask,
        scoring=replace(call.scoring, bias=bias),
        q=call.q[:, :, own],
        k=call.k[:, :, kv],
        v=call.v[:, :, kv],
        weights=jax.tree.map(lambda x: x[own], call.weights),
    )


def _composed(call: Call, kernel: Composed) -> Array:
    """Runs a mechanism made of softmax attentions, each blockwise over all heads."""
    whole, scoring = call.q, call.scoring
    bare = replace(call, kernel=Softmax(), weights=None)

    def softmax(q: Array, k: Array, v: Array, scale: float | None) -> Array:
        if k.shape[2] != v.shape[2]:
            v = for_all(v, whole)
        q, k = for_all(q, whole), for_all(k, v)
        own = replace(scoring, scale=scale)
        return blockwise(replace(bare, q=q, k=k, v=v, scoring=own))[0]

    return kernel.compose(softmax, whole, call.k, call.v, call.weights, scoring.scale)


def _one_head(call: Call, form: str, lse: bool) -> Any:
    """Runs the kernel on one head of one sequence at a time."""
    kernel = call.kernel
    one: Callable[..., Any] = getattr(kernel, "with_lse") if lse else kernel  # noqa: B009
    if len(kernel.implementations) > 1 and not kernel.over_all_heads:
        one = partial(one, form=form)
    return over_heads(call, partial(one, mask=call.mask))


def over_heads(
    call: Call, one: Callable[..., Any], state: Any = None, leading: bool = False
) -> Any:
    """Maps a function of one head over batch, key/value heads and groups with `vmap`.

    It is given q, k and v, and by name the optional parts of the call that are set, which
    `check` has made sure that the kernel takes.

    Args:
        state: beside them, arrays [B, K, G, ...].
        leading: gives arrays [B, K, G, ...], and not [B, T, N, ...].
    """
    N, K = call.q.shape[2], call.k.shape[2]
    groups = (K, N // K)
    # For each part: its arrays, and their axes for `vmap` over batch, K and G.
    parts: dict[str, tuple[Any, tuple[Any, Any, Any]]] = {}
    if call.weights:
        stacked = jax.tree.map(lambda x: split(x, 0, groups), call.weights)
        parts["weights"] = (stacked, (None, 0, 0))
    if call.scoring.scale is not None or call.scoring.bias is not None:
        parts["scoring"] = _grouped(call.scoring, groups)
    if state is not None:
        parts["state"] = (state, (0, 0, 0))
    for name, info in (("q_info", call.q_info), ("kv_info", call.kv_info)):
        if jax.tree.leaves(info):
            parts[name] = (info, (0, None, None))

    def head(q, k, v, given):
        return one(q=q, k=k, v=v, **given)

    for level, axes in ((2, (1, None, None)), (1, (1, 1, 1)), (0, (0, 0, 0))):
        own = {name: where[level] for name, (_, where) in parts.items()}
        to = 0 if leading else min(level, 1)
        alone = level == 2 and N == K
        head = (_alone if alone else jax.vmap)(head, (*axes, own), to)
    k, v = (plain(x, 2) for x in (call.k, call.v))
    given = {name: arrays for name, (arrays, _) in parts.items()}
    out = head(split(call.q, 2, groups), k, v, given)
    if leading:
        return out
    return jax.tree.map(lambda x: join(x, 2, explicit_spec(call.q)), out)


def _alone(function: Callable[..., Any], in_axes: Any, out_axes: int) -> Any:
    """Maps a function over axes of size 1, as `vmap` does, by taking them off.

    Products with an axis more are laid out otherwise by XLA, which on a CPU costs a
    fifth of dense attention and its gradient.
    """

    def without(part: Any, axis: int | None) -> Any:
        if axis is None:
            return part
        return jax.tree.map(lambda x: jnp.squeeze(x, axis), part)

    def mapped(q, k, v, given):
        *axes, own = in_axes
        parts = {name: without(part, own[name]) for name, part in given.items()}
        out = function(*map(without, (q, k, v), axes), parts)
        return jax.tree.map(lambda x: jnp.expand_dims(x, out_axes), out)

    return mapped


def _grouped(scoring: Scoring, groups: tuple[int, int]) -> tuple[Scoring, tuple]:
    """The bias with heads split into (K, G), less the axes [#B, #N] that it shares."""
    bias, axes = scoring.bias, (None, 0, 0)
    if isinstance(bias, RelativeBias):
        bias = jax.tree.map(lambda x: split(x, 0, groups), bias)
    elif bias is not None:
        batch, heads = bias.shape[0] > 1, bias.shape[1] > 1
        bias = split(bias, 1, groups) if heads else bias[:, 0]
        bias = bias if batch else bias[0]
        axes = (0 if batch else None, *((0, 0) if heads else (None, None)))
    return replace(scoring, bias=bias), axes
