"""The call: pads and lays out the arrays, and binds the kernels into one function."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.errors import UserError
from attn.kernels.pallas.backward import keys_gradients, queries_gradient
from attn.kernels.pallas.forward import forward
from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile_list import LANES, choose_blocks
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, NO_KEY, NO_QUERY, TokenInfo, ids_of_call
from attn.masks import FULL, Mask


def pallas_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask,
    scoring: Scoring = PLAIN,
    q_info: TokenInfo = NO_INFO,
    kv_info: TokenInfo = NO_INFO,
    tabled: bool = False,
    blocks: tuple[int, int] | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Computes `dense_attention` of every head on a TPU, in O(T + S) memory.

    The gradient is in reverse mode, and once: a kernel has no derivative of its own.

    Args:
        q, k, v: K divides N.
        mask, scoring, q_info, kv_info: as `dense_attention` takes them, of all heads
            and sequences, without a bias.
        tabled: whether the mask's predicate has operations that a TPU kernel lacks. The
            pairs of PARTIAL tiles are then computed beforehand, a bit each.
        blocks: queries and keys a tile, multiples of 128; chosen by the mask unless
            given.
        interpret: runs as plain jax operations, on any device, slowly.

    Returns:
        The output, in the dtype of `v`, and the float32 log-sum-exp of the scores, both
        differentiable. A query that sees nothing gives 0 and -inf.

    Raises:
        UserError: a block is no multiple of 128.
    """
    if blocks is not None and any(size < 1 or size % LANES for size in blocks):
        raise UserError(f"blocks = {blocks}; they must be multiples of {LANES}")
    T, S = q.shape[1], k.shape[1]
    ids = ids_of_call(q_info, kv_info, len(k), T, S)
    at = q_info.positions, kv_info.positions
    has_ids, has_positions = ids[1] is not None, any(x is not None for x in at)
    if blocks is None:
        blocks = choose_blocks(FULL if has_positions else mask, T, S)
    plan = Plan(
        mask,
        float(scoring.factor(q.shape[-1])),
        scoring.softcap,
        T,
        S,
        *blocks,
        has_ids,
        has_positions,
        tabled,
        interpret,
    )
    extra = -T % plan.q_block, -S % plan.k_block
    inputs = Inputs(
        _lay(q, extra[0]),
        _lay(k, extra[1]),
        _lay(v, extra[1]),
        None if scoring.sinks is None else scoring.sinks.astype(jnp.float32),
        _row(ids[0], extra[0], NO_QUERY),
        _row(ids[1], extra[1], NO_KEY),
        _row(at[0], extra[0], 0),
        _row(at[1], extra[1], 0),
    )
    out, lse = _attention(plan, inputs)  # pyright: ignore[reportGeneralTypeIssues]
    out, lse = out[:, :, :T], lse[:, :, 0, :T]
    out, lse = out.swapaxes(1, 2), lse.swapaxes(1, 2)
    real = q_info.real(T)
    # A sink would give padding a sum of its own.
    return out, lse if real is None else jnp.where(real[..., None], lse, -jnp.inf)


def _lay(x: Array, padding: int) -> Array:
    """Moves heads before tokens, and pads tokens: [B, L, N, H] to [B, N, L, H]."""
    return jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, padding), (0, 0)))


def _row(x: Array | None, padding: int, value: int) -> Array | None:
    """Pads one number a token, and lays it in a row: [B, L] to [B, 1, L]."""
    if x is None:
        return None
    x = jnp.pad(x.astype(jnp.int32), ((0, 0), (0, padding)), constant_values=value)
    return x[:, None, :]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan: Plan, inputs: Inputs):
    return forward(plan, inputs)


def _forward(plan: Plan, inputs: Inputs):
    out, lse = forward(plan, inputs)
    return (out, lse), (inputs, out, lse)


def _backward(plan: Plan, saved: Any, cotangents: Any):
    inputs, out, lse = saved
    d_out, d_lse = cotangents
    delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)
    # d lse / d score is the weight itself, so its cotangent is added to the row's sum.
    delta = delta[:, :, None] - jnp.where(lse == -jnp.inf, 0.0, d_lse)
    rows = lse, delta, d_out
    d_q = queries_gradient(plan, inputs, *rows)
    d_k, d_v = keys_gradients(plan, inputs, *rows)
    d_sinks = None if inputs.sinks is None else _sinks(inputs.sinks, lse, delta)
    return (Inputs(d_q, d_k, d_v, d_sinks, None, None, None, None),)


def _sinks(sinks: Array, lse: Array, delta: Array) -> Array:
    """The gradient of the sinks, which take weight and add no value."""
    weights = jnp.exp(sinks[None, :, None, None] - lse)
    return -(weights * delta).sum(axis=(0, 2, 3))


_attention.defvjp(_forward, _backward)
