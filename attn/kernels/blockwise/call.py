"""The call: makes the plan, and binds both passes into one differentiable function."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, custom_vjp_primal_tree_values
from jaxtyping import Array, Float

from attn.kernels.blockwise import again
from attn.kernels.blockwise import forward as forward_pass
from attn.kernels.blockwise.plan import Plan, choose_heads, product_dtype
from attn.kernels.blockwise.schedule import BlockSizes, choose_block_sizes, fit
from attn.kernels.blockwise.tiles import Infos
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask


def blockwise_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask,
    scoring: Scoring = PLAIN,
    q_info: TokenInfo = NO_INFO,
    kv_info: TokenInfo = NO_INFO,
    blocks: tuple[int, int] | None = None,
    whole: bool = False,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Computes `dense_attention` of every head, in O(T + S) memory.

    The N / K query heads of a group share a key/value head, which is never copied. The
    gradient of a bias [#B, #N, T, S] is computed only where it is required.
    A gradient can be differentiated again in both modes (`again`); forward mode of the
    call itself is not supported, and JAX raises.

    Args:
        q, k, v: K divides N.
        mask, scoring, q_info, kv_info: as `dense_attention` takes them, of all heads
            and sequences.
        blocks: queries and keys a tile, at most T and S; chosen by the mask unless
            given.
        whole: works on all sequences and heads in each step, which arrays that are
            divided over devices need. Otherwise on a few at a time.

    Returns:
        The output, in the dtype of `v`, and the log-sum-exp of the scores, float32 (of
        float64, float64), both differentiable. A query that sees nothing gives 0 and
        -inf; a value of inf or NaN reaches the queries that see it, and no others.
    """
    kv_info = kv_info.folded(k.shape[1])
    plan = make_plan(q, k, mask, scoring, (q_info, kv_info), blocks, whole)
    infos = tuple(TokenInfo(x.segment_ids, x.positions) for x in (q_info, kv_info))
    out, lse = _attention(plan, q, k, v, scoring.bias, scoring.sinks, infos)  # pyright: ignore[reportGeneralTypeIssues]
    return out, jnp.moveaxis(lse, -1, 1).reshape(q.shape[:3])


def make_plan(
    q: Array,
    k: Array,
    mask: Mask,
    scoring: Scoring,
    infos: Infos,
    blocks: tuple[int, int] | None,
    whole: bool,
) -> Plan:
    """Makes the static plan of a call, and chooses its block sizes."""
    (B, T, N, H), (S, K) = q.shape, k.shape[1:3]
    has_positions = any(info.positions is not None for info in infos)
    if blocks is None:
        forward, backward = (
            choose_block_sizes(FULL if has_positions else mask, T, S, of_rows)
            for of_rows in (True, False)
        )
    else:
        forward = fit(BlockSizes(blocks[0], blocks[1]), T, S)
        backward = fit(BlockSizes(blocks[1], blocks[0]), S, T)
    scores = max(forward.line * forward.tile, backward.line * backward.tile)
    batch, heads = (B, K) if whole else choose_heads(B, K, N // K * scores)
    return Plan(
        mask,
        float(scoring.factor(H)),
        scoring.softcap,
        T,
        S,
        forward,
        backward,
        batch,
        heads,
        operand_dtype=product_dtype(q.dtype),
        accumulator_dtype=str(jnp.promote_types(q.dtype, jnp.float32)),
        has_positions=has_positions,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan: Plan, q, k, v, bias, sinks, infos):
    return forward_pass.forward(plan, q, k, v, bias, sinks, infos)


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
