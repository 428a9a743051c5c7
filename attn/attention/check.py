"""Checks of a call of `attend`, made before anything is traced.

Those of arrays and of token info are a model's, too (`attn.model.batch`).
"""

import math
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from attn.attention.call import Call
from attn.errors import UserError
from attn.kernels.base import CAPABILITIES, Kernel
from attn.kernels.tokens import TokenInfo
from attn.masks import Mask, PerHead
from attn.positions import RelativeBias

KINDS = {
    "mask": (
        jnp.bool_,
        "True where a key is real: what is added to scores is a bias",
    ),
    "segment_ids": (
        jnp.integer,
        "ids of segments; padding goes in kv_mask, or in the mask of a TokenInfo",
    ),
    "positions": (jnp.integer, "the position of each token, from 0"),
    "lengths": (jnp.integer, "how many tokens are real"),
    "tokens": (jnp.integer, "ids of the vocabulary; padding goes into TokenInfo"),
    "heads": (jnp.floating, "cast it"),
}
"""The dtypes that an argument may have, and what it means."""
FLOATS = ("float16", "bfloat16", "float32", "float64")
"""The dtypes of q, k, v and a bias. Narrower ones, which jax has too, it promotes to no
other."""


def check(call: Call, lse: bool = False) -> None:
    """Raises `UserError` where arguments disagree or the kernel cannot serve them.

    Values are checked where they can be read, which those of tracers cannot.
    """
    _check_kernel(call.kernel)
    for name, x in (("q", call.q), ("k", call.k), ("v", call.v)):
        check_array(name, x, "heads")
        if len(x.shape) != 4 or 0 in x.shape:
            raise UserError(
                f"{name} is {tuple(x.shape)}; it must be (batch, tokens, heads, "
                "head dim), none of them 0"
            )
    if not isinstance(call.mask, Mask):
        raise UserError(
            f"mask is {type(call.mask).__name__}; it must be one of attn.masks: an "
            "array goes into Blocks(array, 1), padding into kv_mask"
        )
    _check_heads(call)
    _check_tokens(call)
    _check_bias(call)
    _check_scale(call.scoring.scale)
    _check_weights(call)
    _check_capabilities(call, lse)


def _check_kernel(kernel: Any) -> None:
    if isinstance(kernel, Kernel):
        return
    name = getattr(kernel, "__name__", None) or repr(kernel)
    way = f"{name}()" if isinstance(kernel, type) else "attn.kernels.Softmax()"
    raise UserError(f"kernel is {name}; it must be an instance, such as {way}")


def check_array(name: str, x: Any, kind: str) -> None:
    """Raises `UserError` unless `x` is an array of the dtypes in `KINDS` for `kind`."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise UserError(
            f"{name} is a {type(x).__name__}; it must be an array: jnp.asarray({name})"
        )
    dtype, way = KINDS[kind]
    if not jnp.issubdtype(x.dtype, dtype):
        raise UserError(f"{name} is {x.dtype}; it must be {dtype.__name__}: {way}")
    if dtype is jnp.floating and x.dtype.name not in FLOATS:
        taken = f"{', '.join(FLOATS[:-1])} or {FLOATS[-1]}"
        raise UserError(f"{name} is {x.dtype}; it must be {taken}: {way}")


def _check_heads(call: Call) -> None:
    q, k, v = call.q, call.k, call.v
    (B, _, N, H), (Bk, _, K, Hk) = q.shape, k.shape
    if k.shape[:3] != v.shape[:3]:
        raise UserError(f"k {k.shape} and v {v.shape} differ in B, S or K")
    if (Bk, Hk) != (B, H):
        raise UserError(f"q {q.shape} and k {k.shape} differ in B or H")
    if N % K:
        raise UserError(f"q has {N} heads, which {K} key/value heads do not divide")
    if not q.dtype == k.dtype == v.dtype:
        raise UserError(
            f"q, k and v are {q.dtype}, {k.dtype} and {v.dtype}; cast them to one dtype"
        )


def _check_tokens(call: Call) -> None:
    B = call.q.shape[0]
    if (call.q_info.segment_ids is None) != (call.kv_info.segment_ids is None):
        raise UserError("q_segment_ids and kv_segment_ids: give both or neither")
    check_info(call.q_info, (B, call.q.shape[1]), of="T", side="q_")
    check_info(call.kv_info, (B, call.k.shape[1]), of="S", side="kv_")


def check_info(
    info: TokenInfo,
    shape: tuple[int, int],
    *,
    of: str,
    side: str = "",
    once: bool = False,
) -> None:
    """Raises `UserError` for token info that is not of these tokens, or is misread.

    Args:
        shape: of the tokens, (B, L).
        of: the letter of L.
        side: what begins the names of arguments, as in `kv_`.
        once: whether what is said once may be of every sequence.
    """
    for kind, x, own, most in (
        ("segment_ids", info.segment_ids, shape, None),
        ("positions", info.positions, shape, None),
        ("lengths", info.lengths, shape[:1], shape[1]),
        ("mask", info.mask, shape, None),
    ):
        if x is not None:
            check_array(side + kind, x, kind)
            _check_shape(side + kind, tuple(x.shape), own, once)
            if kind != "mask":
                check_range(side + kind, x, kind, most, of)


def _check_shape(
    name: str, shape: tuple[int, ...], wanted: tuple[int, ...], once: bool
) -> None:
    of_every_row = wanted[1:], (1, *wanted[1:])
    if shape != wanted and not (once and shape in of_every_row):
        raise UserError(f"{name} is {shape}; it must be {wanted}")


def check_range(
    name: str, x: Any, kind: str, most: int | None = None, of: str = ""
) -> None:
    """Raises `UserError` for values below 0 or above `most`, where they can be read."""
    if not _at_hand(x):
        return
    # By numpy: under a trace, jax's result would be a tracer.
    numbers = np.asarray(x)
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0:
        raise UserError(f"{name} holds {low}; it must be at least 0: {KINDS[kind][1]}")
    if most is not None and high > most:
        raise UserError(f"{name} holds {high}; it must be at most {of} = {most}")


def _at_hand(x: Any) -> bool:
    """Whether an array's values can be read: no tracer, shape or other host's array."""
    if isinstance(x, jax.Array):
        return not isinstance(x, Tracer) and x.is_fully_addressable
    return isinstance(x, np.ndarray)


def _check_bias(call: Call) -> None:
    (B, T, N, _), S, bias = call.q.shape, call.k.shape[1], call.scoring.bias
    if bias is None:
        return
    if isinstance(bias, RelativeBias):
        heads = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(bias)}
        if heads != {(N,)}:
            found = " or ".join(str(h[0]) if h else "no axis of" for h in heads)
            raise UserError(
                f"bias is of {found} heads; q has {N}, and the arrays of a bias begin "
                "with them"
            )
        return
    if getattr(bias, "dtype", None) == jnp.bool_:
        raise UserError(
            "bias is bool; it is added to the scores: what may be seen goes into mask, "
            "as Blocks(array, 1), or into kv_mask"
        )
    check_array("bias", bias, "heads")
    shape = bias.shape
    whole = shape[2:] == (T, S) and len(shape) == 4
    if not whole or shape[0] not in (1, B) or shape[1] not in (1, N):
        raise UserError(f"bias is {shape}; it must be (1 or {B}, 1 or {N}, {T}, {S})")


def _check_scale(scale: Any) -> None:
    number = isinstance(scale, Real) and not isinstance(scale, bool)
    if scale is None or (number and math.isfinite(scale)):
        return
    array = hasattr(scale, "shape") and not isinstance(scale, np.generic)
    raise UserError(
        f"scale is {'an array' if array else scale}; it must be a finite number: "
        "what is traced, or a head's own, multiplies q"
    )


def _check_capabilities(call: Call, lse: bool) -> None:
    (_, T, N, H), S, kernel = call.q.shape, call.k.shape[1], call.kernel
    masks = [call.mask]
    if isinstance(call.mask, PerHead):
        call.mask.check_heads(N)
        masks = call.mask.masks
    required = set(call.required & set(CAPABILITIES)) | ({"lse"} if lse else set())
    if call.kv_info.lengths is not None:
        required.add("key_padding")
    for mask in masks:
        if not call.has_positions:
            mask.check(T, S)
        kernel.check(mask, T, S, required)
    kernel.check_head(H, call.v.shape[-1])


def _check_weights(call: Call) -> None:
    given = bool(call.weights)
    if given != (call.kernel.owns != "nothing"):
        raise UserError(
            f"kernel {call.kernel.name!r} owns {call.kernel.owns}, and weights were "
            f"{'' if given else 'not '}given; they come from its init"
        )
