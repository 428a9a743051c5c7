"""The call: pads the arrays, and binds the kernels into one function."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.device import device_kind
from attn.errors import UserError
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, NO_KEY, NO_QUERY, TokenInfo, ids_of_call
from attn.kernels.triton.backward import keys_gradients, queries_gradient
from attn.kernels.triton.forward import forward
from attn.kernels.triton.grid import Rows
from attn.kernels.triton.plan import Inputs, Kernels, Plan, choose_blocks
from attn.kernels.triton.tile import LOG2E
from attn.masks import Mask


def triton_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask,
    scoring: Scoring = PLAIN,
    q_info: TokenInfo = NO_INFO,
    kv_info: TokenInfo = NO_INFO,
    tabled: bool = False,
    blocks: Kernels | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """Computes `dense_attention` of every head on an NVIDIA GPU, in O(T + S) memory.

    The gradient is in reverse mode, and once: a kernel has no derivative of its own.

    Args:
        q, k, v: K divides N.
        mask, scoring, q_info, kv_info: as `dense_attention` takes them, of all heads
            and sequences, without a bias.
        tabled: whether the mask's predicate has operations that the kernel lacks. The
            pairs of PARTIAL tiles are then computed beforehand, a byte each.
        blocks: chosen by the sizes and the device unless given.
        interpret: runs as plain jax operations, on any device, slowly.

    Returns:
        The output, in the dtype of `v`, and the float32 log-sum-exp of the scores, both
        differentiable. A query that sees nothing gives 0 and -inf.
    """
    (_, T, _, H), S, V = q.shape, k.shape[1], v.shape[-1]
    ids = ids_of_call(q_info, kv_info, len(k), T, S)
    at = q_info.positions, kv_info.positions
    has_positions = any(x is not None for x in at)
    channels = [max(16, 1 << (n - 1).bit_length()) for n in (H, V)]
    plan = Plan(
        mask,
        float(scoring.factor(H)),
        scoring.softcap,
        T,
        S,
        blocks or choose_blocks(T, S, max(channels), q.dtype.itemsize, device_kind()),
        ids[1] is not None,
        has_positions,
        tabled,
        interpret,
    )
    extra = [whole - n for whole, n in zip(plan.padded, (T, S))]
    inputs = Inputs(
        _pad(q, extra[0], channels[0]),
        _pad(k, extra[1], channels[0]),
        _pad(v, extra[1], channels[1]),
        None if scoring.sinks is None else scoring.sinks.astype(jnp.float32),
        _row(ids[0], extra[0], NO_QUERY),
        _row(ids[1], extra[1], NO_KEY),
        _row(at[0], extra[0], 0),
        _row(at[1], extra[1], 0),
    )
    out, lse = _attention(plan, inputs)  # pyright: ignore[reportGeneralTypeIssues]
    lse = lse[:, :, :T].swapaxes(1, 2) / LOG2E
    real = q_info.real(T)
    # A sink would give padding a sum of its own.
    lse = lse if real is None else jnp.where(real[..., None], lse, -jnp.inf)
    return out[:, :T, :, :V], lse


def _pad(x: Array, tokens: int, channels: int) -> Array:
    """Pads tokens, and channels to a power of two: [B, L, N, H]."""
    return jnp.pad(x, ((0, 0), (0, tokens), (0, 0), (0, channels - x.shape[-1])))


def _row(x: Array | None, padding: int, value: int) -> Array | None:
    """Pads one number a token, [B, L]."""
    if x is None:
        return None
    return jnp.pad(x.astype(jnp.int32), ((0, 0), (0, padding)), constant_values=value)


def _once(kernels: Any) -> Any:
    """Kernels of a plan and arrays, which say that they have no derivative."""

    def refuse(*_):
        raise UserError(
            "impl = 'triton' cannot differentiate gradients again; 'dense' and "
            "'blockwise' can"
        )

    function = jax.custom_vjp(kernels, nondiff_argnums=(0,))
    function.defvjp(refuse, refuse)
    return function


@_once
def _outputs(plan: Plan, inputs: Inputs):
    return forward(plan, inputs)


@_once
def _gradients(plan: Plan, inputs: Inputs, rows: Rows):
    return queries_gradient(plan, inputs, rows), *keys_gradients(plan, inputs, rows)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(plan: Plan, inputs: Inputs):
    return _outputs(plan, inputs)


def _forward(plan: Plan, inputs: Inputs):
    out, lse = _outputs(plan, inputs)
    return (out, lse), (inputs, out, lse)


def _backward(plan: Plan, saved: Any, cotangents: Any):
    inputs, out, lse = saved
    d_out, d_lse = cotangents
    delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)
    # Beyond the last whole block of queries the forward kernel writes nothing.
    real = jnp.arange(lse.shape[2])[None, None] < plan.T
    blind = ~real | (lse == -jnp.inf)
    # d lse / d score is the weight itself, so its cotangent is added to the row's sum.
    delta = delta.swapaxes(1, 2) - jnp.where(blind, 0.0, d_lse * LOG2E)
    rows = Rows(jnp.where(blind, jnp.inf, lse), jnp.where(real, delta, 0.0), d_out)
    d_q, d_k, d_v = _gradients(plan, inputs, rows)
    d_sinks = None if inputs.sinks is None else _sinks(inputs.sinks, rows)
    return (Inputs(d_q, d_k, d_v, d_sinks, None, None, None, None),)


def _sinks(sinks: Array, rows: Rows) -> Array:
    """The gradient of the sinks, which take weight and add no value."""
    weights = jnp.exp2(sinks[None, :, None] * LOG2E - rows.lse)
    return -(weights * rows.delta).sum(axis=(0, 2))


_attention.defvjp(_forward, _backward)
