"""Heads, groups and batch: a one-head kernel lifted to [B, T, N, H] by `jax.vmap`.

The lift adds no collective: inputs sharded over batch and heads come out sharded
over batch and heads, forward and backward.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from attn.errors import UserError, unknown
from attn.kernels.base import Kernel, Weights
from attn.masks import FULL, Mask

DENSE_SCORES = 1024 * 1024
"""Scores of one head up to which `auto` holds them all at once."""


@dataclass(frozen=True)
class Explanation:
    """Which implementation a call gets, why not the others, and what it costs."""

    kernel: str
    implementation: str
    refused: dict[str, str]
    """Every other implementation, and the reason in words."""
    density: float
    """Share of the T × S map that the mask and the kernel's pattern show."""
    flops: float
    """Of all heads of the batch, forward, counting matmuls."""
    temp_bytes: int
    """Scratch memory of the compiled forward call."""


def attend(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask | None = None,
    bias: Float[Array, "#B #N T S"] | None = None,
    kv_mask: Bool[Array, "B S"] | None = None,
    q_segment_ids: Int[Array, "B T"] | None = None,
    kv_segment_ids: Int[Array, "B S"] | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    impl: str = "auto",
) -> Float[Array, "B T N Hv"]:
    """Runs `kernel` on every head of every sequence.

    Args:
        kernel: what to compute, from `attn.kernels`.
        q, k, v: K divides N; query head n reads key/value head n // (N / K), so K = N
            is multi-head, K = 1 multi-query and the rest grouped-query attention.
        mask: what may be seen; everything unless given.
        bias: added to the scaled scores.
        kv_mask: True where a key is real, False where it is padding.
        q_segment_ids, kv_segment_ids: a query sees the keys of its own segment; both
            or neither. Not negative.
        weights: what `kernel.init` gave, stacked over N heads in front.
        scale: of the scores; H ** -0.5 unless given.
        impl: one of `kernel.implementations`, or `auto`. A named one never falls back.

    Returns:
        The attended values, in the dtype of `v`. A query that sees nothing gives 0.

    Raises:
        UserError: shapes disagree, or the kernel has not the capability asked for.
    """
    request = _Request(
        kernel, q, k, v, mask, bias, kv_mask, q_segment_ids, kv_segment_ids, weights
    )
    return request.run(kernel, scale, request.resolve(impl, scale)[0])


def attend_with_lse(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K Hv"],
    *,
    mask: Mask | None = None,
    bias: Float[Array, "#B #N T S"] | None = None,
    kv_mask: Bool[Array, "B S"] | None = None,
    q_segment_ids: Int[Array, "B T"] | None = None,
    kv_segment_ids: Int[Array, "B S"] | None = None,
    scale: float | None = None,
    impl: str = "auto",
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B T N"]]:
    """`attend`, and the float32 log-sum-exp of the scores, differentiable.

    Two outputs over disjoint keys merge exactly with their log-sum-exps.
    """
    request = _Request(
        kernel, q, k, v, mask, bias, kv_mask, q_segment_ids, kv_segment_ids, None
    )
    chosen, _ = request.resolve(impl, scale, lse=True)
    return request.run(getattr(kernel, "with_lse"), scale, chosen)  # noqa: B009


def effective_map(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    *,
    mask: Mask | None = None,
    bias: Float[Array, "#B #N T S"] | None = None,
    kv_mask: Bool[Array, "B S"] | None = None,
    q_segment_ids: Int[Array, "B T"] | None = None,
    kv_segment_ids: Int[Array, "B S"] | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
) -> Float[Array, "B N T S"]:
    """The T × S map by which the kernel mixes the values, whatever its algorithm.

    Every kernel is linear in v, so applied to the identity it returns its own map:
    `einsum("bnts,bsnv->btnv", map, v)` is `attend(...)`. Memory is O(T S).
    """
    B, S, K, _ = k.shape
    identity = jnp.broadcast_to(jnp.eye(S)[None, :, None, :], (B, S, K, S))
    spec = _spec(k)
    if spec is not None:
        identity = reshard(identity, P(spec[0], None, spec[2], None))
    out = attend(
        kernel,
        q,
        k,
        identity,
        mask=mask,
        bias=bias,
        kv_mask=kv_mask,
        q_segment_ids=q_segment_ids,
        kv_segment_ids=kv_segment_ids,
        weights=weights,
        scale=scale,
    )
    return out.transpose(0, 2, 1, 3)


def explain(
    kernel: Kernel,
    q: Float[Array, "B T N H"] | jax.ShapeDtypeStruct,
    k: Float[Array, "B S K H"] | jax.ShapeDtypeStruct,
    v: Float[Array, "B S K Hv"] | jax.ShapeDtypeStruct,
    *,
    mask: Mask | None = None,
    bias: Float[Array, "#B #N T S"] | None = None,
    kv_mask: Bool[Array, "B S"] | None = None,
    q_segment_ids: Int[Array, "B T"] | None = None,
    kv_segment_ids: Int[Array, "B S"] | None = None,
    weights: Weights | None = None,
    scale: float | None = None,
    impl: str = "auto",
) -> Explanation:
    """What `attend` would do with these arguments. Compiles, and runs nothing."""
    request = _Request(
        kernel, q, k, v, mask, bias, kv_mask, q_segment_ids, kv_segment_ids, weights
    )
    chosen, refused = request.resolve(impl, scale)
    arrays = (q, k, v, bias, kv_mask, q_segment_ids, kv_segment_ids, weights)

    def call(q, k, v, bias, kv_mask, q_segment_ids, kv_segment_ids, weights):
        return attend(
            kernel,
            q,
            k,
            v,
            mask=mask,
            bias=bias,
            kv_mask=kv_mask,
            q_segment_ids=q_segment_ids,
            kv_segment_ids=kv_segment_ids,
            weights=weights,
            scale=scale,
            impl=chosen,
        )

    memory = jax.jit(call).lower(*arrays).compile().memory_analysis()
    (B, T, N, H), S = q.shape, k.shape[1]
    return Explanation(
        kernel.name,
        chosen,
        refused,
        kernel.pattern(request.mask).density(T, S),
        B * N * kernel.flops(T, S, H, v.shape[-1], request.mask),
        memory.temp_size_in_bytes,
    )


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
        held = f"{T} x {S} scores a head are {'over' if long else 'within'} {DENSE_SCORES}"
        cannot.setdefault(other, held)
    elif impl == "auto":
        impl = names[0]
    return impl, {n: cannot.get(n, "not asked for") for n in names if n != impl}


class _Request:
    """The arguments of one call: checked, then laid out for the kernel."""

    def __init__(
        self, kernel, q, k, v, mask, bias, kv_mask, q_segments, kv_segments, weights
    ):
        self.kernel, self.q, self.k, self.v = kernel, q, k, v
        self.mask = FULL if mask is None else mask
        self.bias, self.weights = bias, weights
        self.kv_mask, self.q_segments, self.kv_segments = kv_mask, q_segments, kv_segments
        self._check_shapes()

    def _check_shapes(self):
        (B, T, N, H), (Bk, S, K, Hk) = self.q.shape, self.k.shape
        if (Bk, S, K) != self.v.shape[:3]:
            raise UserError(f"k {self.k.shape} and v {self.v.shape} differ in B, S or K")
        if B != Bk or H != Hk:
            raise UserError(f"q {self.q.shape} and k {self.k.shape} differ in B or H")
        if N % K:
            raise UserError(f"q has {N} heads, which {K} key/value heads do not divide")
        if (self.q_segments is None) != (self.kv_segments is None):
            raise UserError("q_segment_ids and kv_segment_ids: give both or neither")
        given = self.weights is not None and len(self.weights) > 0
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
        k, v = (_plain(x, 2, K) for x in (self.k, self.v))
        out = head(_split(self.q, 2, groups), k, v, values)
        return jax.tree.map(lambda x: _join(x, 2, _spec(self.q)), out)

    def _ids(self):
        """One number for each token: its segment, or -1 for a key that is padding."""
        kv_ids = self.kv_segments
        if kv_ids is None:
            kv_ids = jnp.zeros_like(self.kv_mask, jnp.int32)
        if self.kv_mask is not None:
            kv_ids = jnp.where(self.kv_mask, kv_ids, -1)
        return self.q_segments, kv_ids


def _split(x: Array, axis: int, groups: tuple[int, int]) -> Array:
    """Axis N as (K, G), sharded over K as it was over N."""
    x = _plain(x, axis, groups[0])
    shape = x.shape[:axis] + groups + x.shape[axis + 1 :]
    spec = _spec(x)
    if spec is not None:
        spec = P(*spec[: axis + 1], None, *spec[axis + 1 :])
    return jnp.reshape(x, shape, out_sharding=spec)


def _join(x: Array, axis: int, like: P | None) -> Array:
    """Axes (K, G) as N, sharded as `like`."""
    shape = (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])
    spec = _spec(x)
    if spec is None or like is None:
        return jnp.reshape(x, shape)
    spec = P(*spec[: axis + 1], *spec[axis + 2 :])
    x = jnp.reshape(x, shape, out_sharding=spec)
    return reshard(x, P(*spec[:axis], like[axis], *spec[axis + 1 :]))


def _plain(x: Array, axis: int, size: int) -> Array:
    """Takes a mesh axis off a dimension of size 1, which it cannot divide further.

    Under `vmap`, jax 0.10 gives the cotangent of such a dimension another type than
    its primal.
    """
    spec = _spec(x)
    if spec is None or size > 1 or spec[axis] is None:
        return x
    return reshard(x, P(*spec[:axis], None, *spec[axis + 1 :]))


def _spec(x: Array) -> P | None:
    """The sharding in the type of `x`; None off an Explicit mesh."""
    sharding = jax.typeof(x).sharding
    explicit = AxisType.Explicit in sharding.mesh.axis_types
    return P(*sharding.spec, *[None] * (x.ndim - len(sharding.spec))) if explicit else None
