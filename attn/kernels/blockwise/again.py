"""The two passes with derivatives of their own, for second derivatives.

The lengths of their loops are known at run time only, and reverse mode cannot
differentiate such loops. Here the tangents of a pass are those of the definition,
`dense_attention`, over a row of tiles at a time: so a gradient can be differentiated
again, forward (Hessian-vector products) and in reverse, as often as one likes. The
additional memory is a row of tiles, with all its keys, of all heads.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attn.kernels.blockwise import backward as backward_pass
from attn.kernels.blockwise import forward as forward_pass
from attn.kernels.blockwise.bias import Bias
from attn.kernels.blockwise.plan import Plan
from attn.kernels.blockwise.tiles import Infos
from attn.kernels.dense import dense_attention
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.positions import RelativeBias


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def forward(plan: Plan, *inputs: Any) -> tuple[Array, Array]:
    """Calls `forward_pass.forward`; differentiable."""
    return forward_pass.forward(plan, *inputs)


@forward.defjvp
def _(plan: Plan, inputs, tangents):
    _, out_tangents = jax.jvp(partial(by_definition, plan), inputs, tangents)
    return forward(plan, *inputs), out_tangents


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def backward(plan: Plan, bias_moves: bool, inputs, outputs: Any, cotangents: Any):
    """Calls `backward_pass.backward`; differentiable."""
    (out, lse), (d_out, d_lse) = outputs, cotangents
    return backward_pass.backward(plan, inputs, out, lse, d_out, d_lse, bias_moves)


@backward.defjvp
def _(plan: Plan, bias_moves: bool, primals, tangents):
    def gradients(inputs, cotangents):
        q, k, v, bias, sinks, infos = inputs
        run = partial(by_definition, plan, infos=infos)
        d_q, d_k, d_v, d_bias, d_sinks = jax.vjp(run, q, k, v, bias, sinks)[1](
            cotangents
        )
        return d_q, d_k, d_v, d_bias if bias_moves else None, d_sinks

    # The outputs are functions of the inputs, so their tangents are not needed.
    (inputs, _, cotangents), (d_inputs, _, d_cotangents) = primals, tangents
    moved = (d_inputs, d_cotangents)
    _, out_tangents = jax.jvp(gradients, (inputs, cotangents), moved)
    return backward(plan, bias_moves, *primals), out_tangents


def by_definition(
    plan: Plan,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    bias: Bias | None,
    sinks: Float[Array, "N"] | None,
    infos: Infos,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B K G T"]]:
    """Computes what `forward_pass.forward` does, in loops that are differentiable."""
    (B, T, N, H), (S, K), (q_info, kv_info) = q.shape, k.shape[1:3], infos
    groups, relative = (K, N // K), isinstance(bias, RelativeBias)
    at = jnp.broadcast_to(q_info.index(T), (B, T)).T
    ids = None if q_info.segment_ids is None else q_info.segment_ids.T
    by_query: dict[str, Any] = {
        "q": jnp.moveaxis(q.reshape(B, T, *groups, H), 1, 0),
        "info": TokenInfo(segment_ids=ids, positions=at),
    }
    if bias is not None and not isinstance(bias, RelativeBias):
        by_query["bias"] = jnp.moveaxis(bias, 2, 0)

    def by_groups(x: Array) -> Array:
        return x.reshape(*groups, *x.shape[1:])

    def query(q, k, v, bias, sink, q_info, kv_info):
        own = bias if relative or bias is None else bias[None]
        out, lse = dense_attention(
            q[None],
            k,
            v,
            mask=plan.mask,
            scoring=Scoring(plan.scale, plan.softcap, own, sink),
            q_info=jax.tree.map(lambda x: x[None], q_info),
            kv_info=kv_info,
        )
        return out[0], lse[0]

    of_batch = (0, 0, 0, None if relative else 0, None, 0, 0)
    for axes in ((0, None, None, 0, 0), (0, 1, 1, 0, 0)):
        query = jax.vmap(query, (*axes, None, None))
    query = jax.vmap(query, of_batch)
    sinks = None if sinks is None else by_groups(sinks)

    @jax.checkpoint
    def row(x):
        here = jax.tree.map(by_groups, bias) if relative else None
        if "bias" in x:
            here = jnp.broadcast_to(x["bias"], (B, N, S)).reshape(B, *groups, S)
        return query(x["q"], k, v, here, sinks, x["info"], kv_info)

    out, lse = lax.map(row, by_query, batch_size=plan.forward.line)
    return jnp.moveaxis(out.reshape(T, B, N, -1), 0, 1), jnp.moveaxis(lse, 0, -1)
