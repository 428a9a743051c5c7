"""The call: its plan, and its two passes bound into one differentiable function."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, custom_vjp_primal_tree_values
from jaxtyping import Array, Float, Int

from attn.kernels.blockwise import again
from attn.kernels.blockwise import forward as forward_pass
from attn.kernels.blockwise.bias import Bias
from attn.kernels.blockwise.plan import Plan, choose_heads, product_dtype
from attn.kernels.blockwise.tiles import Marks
from attn.kernels.blockwise.walks import Cut, choose_cut, fit
from attn.masks import FULL, Mask


def blockwise_attention(
    q: Float[Array, "B T K G H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask,
    scale: float | None = None,
    softcap: float | None = None,
    bias: Bias | None = None,
    sinks: Float[Array, "K G"] | None = None,
    q_ids: Int[Array, "B T"] | None = None,
    kv_ids: Int[Array, "B S"] | None = None,
    q_positions: Int[Array, "B T"] | None = None,
    kv_positions: Int[Array, "B S"] | None = None,
    blocks: tuple[int, int] | None = None,
    whole: bool = False,
) -> tuple[Float[Array, "B T K G Hv"], Float[Array, "B T K G"]]:
    """`dense_attention` of every head, in O(T + S) memory.

    The G query heads of a group share a key/value head, which is never copied. The
    gradient of a bias [#B, #K, #G, T, S] is computed only where it is asked for.
    A gradient can be differentiated again in both modes (`again`); forward mode of the
    call itself has no tiles, and JAX refuses it.

    Args:
        bias, sinks, q_ids, kv_ids, q_positions, kv_positions: as `attn.attend`.
        blocks: queries and keys a tile, at most T and S; chosen by the mask unless
            given.
        whole: works on all sequences and heads in each step, which arrays that are
            divided over devices need. Otherwise on a few, in turn.

    Returns:
        The output, in the dtype of `v`, and the log-sum-exp of the scores, float32 (of
        float64, float64), both differentiable. A query that sees nothing gives 0 and
        -inf; a value of inf or NaN reaches the queries that see it, and no others.
    """
    (B, T, K, G, H), S = q.shape, k.shape[1]
    moved = q_positions is not None or kv_positions is not None
    if blocks is None:
        forward, backward = (
            choose_cut(FULL if moved else mask, T, S, of_rows)
            for of_rows in (True, False)
        )
    else:
        forward = fit(Cut(blocks[0], blocks[1]), T, S)
        backward = fit(Cut(blocks[1], blocks[0]), S, T)
    scores = max(forward.line * forward.tile, backward.line * backward.tile)
    few = (B, K) if whole else choose_heads(B, K, G * scores)
    plan = Plan(
        mask,
        float(H**-0.5 if scale is None else scale),
        softcap,
        T,
        S,
        forward,
        backward,
        *few,
        dots=product_dtype(q.dtype),
        acc=str(jnp.promote_types(q.dtype, jnp.float32)),
        marked=moved or kv_ids is not None,
        moved=moved,
    )
    marks = Marks(q_ids, kv_ids, q_positions, kv_positions)
    heads = q.reshape(B, T, K * G, H)
    out, lse = _attention(plan, heads, k, v, bias, sinks, marks)  # pyright: ignore[reportGeneralTypeIssues]
    return out.reshape(B, T, K, G, -1), jnp.moveaxis(lse, -1, 1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan: Plan, q, k, v, bias, sinks, marks):
    return forward_pass.forward(plan, q, k, v, bias, sinks, marks)


def _forward(plan: Plan, *primals: Any):
    inputs = custom_vjp_primal_tree_values(primals)
    moves = any(leaf.perturbed for leaf in jax.tree.leaves(primals[3]))
    out, lse = again.forward(plan, *inputs)
    return (out, lse), (inputs, out, lse, () if moves else None)


def _backward(plan: Plan, saved, cotangents):
    inputs, *outputs, moves = saved
    cotangents = [
        jnp.zeros_like(x) if isinstance(d, SymbolicZero) else d
        for x, d in zip(outputs, cotangents)
    ]
    grads = again.backward(
        plan, moves is not None, inputs, tuple(outputs), tuple(cotangents)
    )
    return *grads, None


_attention.defvjp(_forward, _backward, symbolic_zeros=True)
