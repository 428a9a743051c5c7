"""Under `attend`: the checks of a call, and its layout over heads, groups and batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from attn.errors import UserError, unknown
from attn.kernels.base import Kernel
from attn.masks import FULL

DENSE_SCORES = 1024 * 1024
"""Scores of one head up to which `auto` holds them all at once."""


def choose_implementation(
    kernel: Kernel, T: int, S: int, impl: str = "auto", *, bias: bool = False
) -> tuple[str, dict[str, str]]:
    """The implementation for T queries and S keys, and why not each of the others.

    Raises:
        UserError: `impl` names one that does not exist or cannot do what is asked.
    """
    names = kernel.implementations
    if impl not in ("auto", *names):
        raise unknown(f"impl of kernel {kernel.name!r}", impl, ("auto", *names))
    cannot = {}
    if bias and "blockwise" in names:
        cannot["blockwise"] = "it takes no bias"
    if impl in cannot:
        raise UserError(f"impl = {impl!r}: {cannot[impl]}; 'auto' would choose another")
    if impl == "auto" and len(names) > 1:
        long = T * S > DENSE_SCORES and "blockwise" not in cannot
        impl, other = ("blockwise", "dense") if long else ("dense", "blockwise")
        held = (
            f"{T} x {S} scores a head are {'over' if long else 'within'} {DENSE_SCORES}"
        )
        cannot.setdefault(other, held)
    elif impl == "auto":
        impl = kernel.implementations[0]
    return impl, {n: cannot.get(n, "not asked for") for n in names if n != impl}


class Request:
    """The arguments of one call: checked, then laid out for the kernel."""

    def __init__(
        self, kernel, q, k, v, mask, bias, kv_mask, q_segments, kv_segments, weights
    ):
        self.kernel, self.q, self.k, self.v = kernel, q, k, v
        self.mask = FULL if mask is None else mask
        self.bias, self.weights = bias, weights
        self.q_segments, self.kv_segments = q_segments, kv_segments
        self.kv_mask = kv_mask
        self._check_shapes()

    def _check_shapes(self):
        (B, T, N, H), (Bk, S, K, Hk) = self.q.shape, self.k.shape
        if (Bk, S, K) != self.v.shape[:3]:
            raise UserError(
                f"k {self.k.shape} and v {self.v.shape} differ in B, S or K"
            )
        if (Bk, Hk) != (B, H):
            raise UserError(f"q {self.q.shape} and k {self.k.shape} differ in B or H")
        if N % K:
            raise UserError(f"q has {N} heads, which {K} key/value heads do not divide")
        if (self.q_segments is None) != (self.kv_segments is None):
            raise UserError("q_segment_ids and kv_segment_ids: give both or neither")
        for name, array, shape in (
            ("kv_mask", self.kv_mask, (B, S)),
            ("q_segment_ids", self.q_segments, (B, T)),
            ("kv_segment_ids", self.kv_segments, (B, S)),
        ):
            if array is not None and array.shape != shape:
                raise UserError(f"{name} is {array.shape}; it must be {shape}")

    def _check_weights(self):
        given = bool(self.weights)
        if given != (self.kernel.owns != "nothing"):
            raise UserError(
                f"kernel {self.kernel.name!r} owns {self.kernel.owns}, and weights were "
                f"{'' if given else 'not '}given; they come from its init"
            )

    def resolve(
        self, impl: str, scale: float | None, lse: bool = False
    ) -> tuple[str, dict[str, str]]:
        """The implementation to run, and why not each of the others."""
        T, S = self.q.shape[1], self.k.shape[1]
        self.kernel.check(
            self.mask,
            T,
            S,
            key_padding=self.kv_mask is not None,
            packing=self.kv_segments is not None,
            bias=self.bias is not None,
            scale=scale is not None,
            lse=lse,
        )
        self._check_weights()
        bias = self.bias is not None
        return choose_implementation(self.kernel, T, S, impl, bias=bias)

    def run(self, call: Callable[..., Any], scale: float | None, impl: str):
        """`call` on each head, by vmap over batch, key/value heads and groups."""
        B, _, N, _ = self.q.shape
        K = self.k.shape[2]
        groups = (K, N // K)
        static: dict[str, Any] = {"mask": self.mask}
        if scale is not None:
            static["scale"] = scale
        if len(self.kernel.implementations) > 1:
            static["impl"] = impl

        # name -> (array, its axis at each of the three maps: batch, K, G)
        arrays: dict[str, tuple[Any, tuple]] = {}
        if self.weights is not None:
            stacked = jax.tree.map(lambda w: _split(w, 0, groups), self.weights)
            arrays["weights"] = (stacked, (None, 0, 0))
        if self.bias is not None:
            bias = jnp.broadcast_to(self.bias, (B, N, *self.bias.shape[2:]))
            arrays["bias"] = (_split(bias, 1, groups), (0, 0, 0))
        if self.kv_mask is not None or self.kv_segments is not None:
            q_ids, kv_ids = self._ids()
            arrays["kv_ids"] = (kv_ids, (0, None, None))
            if q_ids is not None:
                arrays["q_ids"] = (q_ids, (0, None, None))

        def head(q, k, v, extra):
            return call(q, k, v, **static, **extra)

        values = {name: array for name, (array, _) in arrays.items()}
        for level, axes in ((2, (1, None, None)), (1, (1, 1, 1)), (0, (0, 0, 0))):
            extra = {name: where[level] for name, (_, where) in arrays.items()}
            head = jax.vmap(head, in_axes=(*axes, extra), out_axes=min(level, 1))
        k, v = (_plain(x, 2) for x in (self.k, self.v))
        out = head(_split(self.q, 2, groups), k, v, values)
        return jax.tree.map(lambda x: _join(x, 2, explicit_spec(self.q)), out)

    def _ids(self):
        """One number for each token: its segment, or -1 for a key that is padding."""
        kv_ids = self.kv_segments
        if kv_ids is None:
            kv_ids = jnp.zeros_like(self.kv_mask, jnp.int32)
        if self.kv_mask is not None:
            kv_ids = jnp.where(self.kv_mask, kv_ids, -1)
        return self.q_segments, kv_ids


def _split(x: Array, axis: int, groups: tuple[int, int]) -> Array:
    """Axis N as (K, G), sharded over K as it was over N; over G where K is 1."""
    x = _plain(x, axis)
    shape = x.shape[:axis] + groups + x.shape[axis + 1 :]
    spec = explicit_spec(x)
    if spec is not None:
        split = (None, spec[axis]) if groups[0] == 1 else (spec[axis], None)
        spec = P(*spec[:axis], *split, *spec[axis + 1 :])
    return jnp.reshape(x, shape, out_sharding=spec)


def _join(x: Array, axis: int, like: P | None) -> Array:
    """Axes (K, G) as N, sharded as `like`."""
    shape = (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])
    spec = explicit_spec(x)
    if spec is None or like is None:
        return jnp.reshape(x, shape)
    heads = spec[axis] if spec[axis] is not None else spec[axis + 1]
    spec = P(*spec[:axis], heads, *spec[axis + 2 :])
    x = jnp.reshape(x, shape, out_sharding=spec)
    return reshard(x, P(*spec[:axis], like[axis], *spec[axis + 1 :]))


def _plain(x: Array, axis: int) -> Array:
    """Takes a mesh axis off a dimension of size 1, which it cannot divide further.

    Under `vmap`, jax 0.10 gives the cotangent of such a dimension another type than
    its primal.
    """
    spec = explicit_spec(x)
    if spec is None or x.shape[axis] > 1 or spec[axis] is None:
        return x
    return reshard(x, P(*spec[:axis], None, *spec[axis + 1 :]))


def explicit_spec(x: Array) -> P | None:
    """The sharding in the type of `x`; None off an Explicit mesh."""
    sharding = jax.typeof(x).sharding
    explicit = AxisType.Explicit in sharding.mesh.axis_types
    return (
        P(*sharding.spec, *[None] * (x.ndim - len(sharding.spec))) if explicit else None
    )
