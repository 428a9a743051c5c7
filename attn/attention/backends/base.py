"""A library's own attention kernel: what it takes, as data, and its call.

A mask must lower to what the library skips by (flags, one key interval a query, a
predicate inside the kernel); one that does not is refused, never turned into a T x S
tensor. A query that sees nothing gives 0 with zero gradients, as everywhere here.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import ClassVar, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attn.device import generation, vendor
from attn.errors import UserError
from attn.masks import Mask
from attn.parallel.shard import over_mesh

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class CallShape:
    """What a call asks, known before any array exists."""

    B: int
    T: int
    S: int
    N: int
    K: int
    H: int
    Hv: int
    dtype: str
    mask: Mask
    asked: frozenset[str] = field(default_factory=frozenset)
    """Names from `attn.kernels.base.CAPABILITIES`: bias, packing, softcap, ..."""
    device: str = "cpu"
    """jax's `device_kind`, from `attn.device.device_kind`."""


@dataclass(frozen=True)
class Backend:
    """One library's kernel: its limits are class attributes, so they can be listed."""

    name: ClassVar[str]
    source: ClassVar[str]
    """The call that it adapts."""
    packages: ClassVar[tuple[str, ...]]
    """Any one of these must be installed."""
    install: ClassVar[str]
    """What to type where none is."""
    vendor: ClassVar[str]
    least_generation: ClassVar[float]
    """Of `attn.device.generation`."""
    dtypes: ClassVar[tuple[str, ...]]
    can: ClassVar[frozenset[str]]
    head_multiple: ClassVar[int]
    """Divides H and Hv."""
    head_max: ClassVar[int]
    own_value_dim: ClassVar[bool]
    """Whether Hv may differ from H."""
    length_multiple: ClassVar[int] = 1
    """Divides T and S."""

    def why_unsupported(self, ask: CallShape) -> str | None:
        """Why this kernel cannot serve `ask`, in one line; None if it can.

        In this order: installed, device, dtype, head dimensions, capability, mask,
        lengths.
        """
        for check in (
            self._installed,
            self._device,
            self._dtype,
            self._head_dims,
            self._capability,
            self._mask,
            self._lengths,
        ):
            reason = check(ask)
            if reason:
                return reason
        return None

    def _installed(self, ask: CallShape) -> str | None:
        if any(find_spec(package) for package in self.packages):
            return None
        return f"{' or '.join(self.packages)} is not installed; {self.install}"

    def _device(self, ask: CallShape) -> str | None:
        if vendor(ask.device) != self.vendor:
            return f"device {ask.device!r}; it takes {self.vendor} devices"
        version = generation(ask.device)
        if version is None:
            return f"device {ask.device!r} is of no generation known here"
        if version < self.least_generation:
            return (
                f"device {ask.device!r} is of generation {version:g}; it takes "
                f"{self.least_generation:g} and later"
            )
        return None

    def _dtype(self, ask: CallShape) -> str | None:
        if ask.dtype in self.dtypes:
            return None
        return f"dtype {ask.dtype}; it takes {', '.join(self.dtypes)}"

    def _head_dims(self, ask: CallShape) -> str | None:
        for name, size in (("head dim", ask.H), ("value head dim", ask.Hv)):
            if size % self.head_multiple or size > self.head_max:
                return (
                    f"{name} {size}; it takes multiples of {self.head_multiple} up to "
                    f"{self.head_max}"
                )
        if ask.Hv != ask.H and not self.own_value_dim:
            return f"value head dim {ask.Hv}; it takes the queries' own, {ask.H}"
        return None

    def _capability(self, ask: CallShape) -> str | None:
        lacking = sorted(ask.asked - self.can)
        if not lacking:
            return None
        able = ", ".join(sorted(self.can))
        return f"asked for {', '.join(lacking)}; beyond masks it can {able}"

    def _mask(self, ask: CallShape) -> str | None:
        raise NotImplementedError

    def _lengths(self, ask: CallShape) -> str | None:
        for name, length in (("T", ask.T), ("S", ask.S)):
            if length % self.length_multiple:
                return (
                    f"{name} = {length}; it takes multiples of {self.length_multiple}"
                )
        return None

    def __call__(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        *,
        mask: Mask,
        scale: float | None = None,
        softcap: float | None = None,
        bias: Float[Array, "#B #N T S"] | None = None,
        sinks: Float[Array, "N"] | None = None,
        q_ids: Int[Array, "B T"] | None = None,
        kv_ids: Int[Array, "B S"] | None = None,
        q_lengths: Int[Array, "B"] | None = None,
        kv_lengths: Int[Array, "B"] | None = None,
    ) -> Float[Array, "B T N Hv"]:
        """Attends. What `why_unsupported` would refuse is not checked again.

        Args:
            q, k, v: K divides N. On an Explicit mesh, divided over batch and heads.
            mask: what may be seen.
            scale: of the scores; H ** -0.5 unless given.
            softcap: c, in c tanh(scores / c), before the mask.
            bias: added to the scaled scores.
            sinks: a score of each head that takes its share and gives no value.
            q_ids, kv_ids: a query sees the keys that carry its own number (0 without
                `q_ids`). A key below 0 is padding.
            q_lengths, kv_lengths: the first so many queries and keys are real.

        Returns:
            In the dtype of `q`. A query that sees nothing gives 0.

        Raises:
            UserError: the mesh divides T, S or H, or the keys' heads unlike the queries'.
        """
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        extras = {
            "bias": bias,
            "sinks": sinks,
            "q_ids": q_ids,
            "kv_ids": kv_ids,
            "q_lengths": q_lengths,
            "kv_lengths": kv_lengths,
        }

        def local(q, k, v, extras):
            q, k, v = clean(q, k, v, extras)
            return self.local(q, k, v, mask, factor, softcap, extras)

        return over_mesh(local, q, k, v, extras)

    def local(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Mask,
        scale: float,
        softcap: float | None,
        extras: "Extras",
    ) -> Array:
        """The call on one device, for its share of the batch and of the heads."""
        raise NotImplementedError


Extras = dict[str, Array | None]
"""The run-time arguments of `Backend.__call__` by name."""


def lowered(form: tuple[X, Y] | None, mask: Mask) -> tuple[X, Y]:
    """The form that a mask has for a library.

    Raises:
        UserError: it has none, so `why_unsupported` was not asked or not heard.
    """
    if form is None:
        raise UserError(
            f"mask {mask} has no form for this kernel; ask its `why_unsupported`"
        )
    return form


def real_queries(q: Array, extras: Extras) -> Array | None:
    """Bool [B, T]: which queries their length leaves; None for all."""
    lengths = extras["q_lengths"]
    return None if lengths is None else jnp.arange(q.shape[1])[None] < lengths[:, None]


def real_keys(k: Array, extras: Extras) -> Array | None:
    """Bool [B, S]: which keys are not padding; None for all."""
    lengths, ids = extras["kv_lengths"], extras["kv_ids"]
    real = None if ids is None else ids >= 0
    if lengths is not None:
        within = jnp.arange(k.shape[1])[None] < lengths[:, None]
        real = within if real is None else real & within
    return real


def clean(q: Array, k: Array, v: Array, extras: Extras) -> tuple[Array, Array, Array]:
    """Zeros at padding: 0 times an inf there is NaN, and so is its gradient.

    The transpose of the selection also drops whatever gradient a kernel leaves there.
    """
    queries, keys = real_queries(q, extras), real_keys(k, extras)
    return keep(q, queries), keep(k, keys), keep(v, keys)


def keep(x: Array, where: Array | None) -> Array:
    """`x` [B, L, ...] where `where` [B or 1, L] holds, else 0."""
    if where is None:
        return x
    return jnp.where(where[:, :, None, None], x, jnp.zeros((), x.dtype))
