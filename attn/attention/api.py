"""The public calls, which run a one-head kernel on all heads of all sequences.

The lift from one head adds no collective: inputs sharded over batch and heads come out
sharded over batch and heads, forward and backward. One key/value head that all devices
hold costs one, the sum of its gradient.
"""

from dataclasses import replace
from typing import Unpack

import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array, Bool, Float, Int

from attn.attention.call import CallOptions, make_call
from attn.attention.check import check
from attn.attention.sequence import run
from attn.kernels.base import Kernel, Weights
from attn.masks import Mask
from attn.parallel.shard import explicit_spec
from attn.positions import RelativeBias


def attend(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask | None = None,
    bias: Float[Array, "#B #N T S"] | RelativeBias | None = None,
    kv_mask: Bool[Array, "B S"] | None = None,
    q_segment_ids: Int[Array, "B T"] | None = None,
    kv_segment_ids: Int[Array, "B S"] | None = None,
    q_positions: Int[Array, "B T"] | None = None,
    kv_positions: Int[Array, "B S"] | None = None,
    q_lengths: Int[Array, "B"] | None = None,
    kv_lengths: Int[Array, "B"] | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    impl: str = "auto",
    strategy: str = "auto",
) -> Float[Array, "B T N Hv"]:
    """Runs `kernel` on every head of every sequence.

    Args:
        kernel: what to compute, from `attn.kernels`.
        q, k, v: K divides N; query head n reads key/value head n // (N / K), so K = N
            is multi-head, K = 1 multi-query and the rest grouped-query attention.
        mask: what may be seen; everything unless given. `PerHead` gives each query
            head its own.
        bias: added to the scaled scores: an array, or one that is computed from
            distances (`attn.positions`) and never stored. A kernel's soft-cap caps
            their sum, and no other order is offered.
        kv_mask: True where a key is real, False where it is padding.
        q_segment_ids, kv_segment_ids: a query sees the keys of its own segment; both
            or neither. Not negative.
        q_positions, kv_positions: positions of the tokens, for the mask and for a bias
            of distances; 0, 1, 2, ... unless given.
        q_lengths, kv_lengths: numbers of real queries and keys; the others are
            padding. A padded query gives 0.
        weights: from `kernel.init`, stacked over N heads in front.
        scale: of the scores; H ** -0.5 unless given.
        impl: one of `kernel.implementations` or `kernel.backends`, or `auto`. A named
            one never falls back.
        strategy: where a mesh divides the sequence, one of `kernel.strategies` by which
            queries meet the keys of other devices, or `auto`
            (`attn.parallel.strategies`). A named one never falls back.

    Returns:
        The attended values, in the dtype of `v`. A query that sees nothing gives 0.
        Gradients of our `dense`, `blockwise` and direct forms may be differentiated again
        in both modes, those of fused kernels not; forward mode of the call itself
        (`jax.jvp`, `jax.jacfwd`) needs impl="dense".

    Raises:
        UserError: arguments disagree or would be misread, or the kernel lacks a
            required capability.
    """
    call = make_call(
        kernel,
        q,
        k,
        v,
        mask=mask,
        bias=bias,
        kv_mask=kv_mask,
        q_segment_ids=q_segment_ids,
        kv_segment_ids=kv_segment_ids,
        q_positions=q_positions,
        kv_positions=kv_positions,
        q_lengths=q_lengths,
        kv_lengths=kv_lengths,
        weights=weights,
        scale=scale,
    )
    check(call)
    return run(call, impl, strategy=strategy)


def attend_with_lse(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    impl: str = "auto",
    strategy: str = "auto",
    **options: Unpack[CallOptions],
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Runs `attend`, and returns the scores' float32 log-sum-exp too; differentiable.

    Two outputs over disjoint keys merge exactly with their log-sum-exps.
    """
    call = make_call(kernel, q, k, v, **options)
    check(call, lse=True)
    return run(call, impl, lse=True, strategy=strategy)


def effective_map(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    **options: Unpack[CallOptions],
) -> Float[Array, "B N T S"]:
    """Computes the T x S map by which the kernel mixes the values.

    A kernel that is linear in v and treats its channels alike returns its own map where
    v is the identity: `einsum("bnts,bsnv->btnv", map, v)` is `attend(...)`. Memory is
    O(T S).

    Raises:
        UserError: the kernel has another map for each channel.
    """
    if "map" not in kernel.can:
        raise kernel.unable("map", "asked for its effective map")
    call = make_call(kernel, q, k, k, **options)
    check(call)
    B, S, K, _ = k.shape
    q, k = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (q, k))
    identity = jnp.broadcast_to(
        jnp.eye(S, dtype=k.dtype)[None, :, None, :], (B, S, K, S)
    )
    spec = explicit_spec(k)
    if spec is not None:
        identity = reshard(identity, P(*spec[:3], None))
    out = run(replace(call, q=q, k=k, v=identity), kernel.implementations[0])
    return out.transpose(0, 2, 1, 3)
