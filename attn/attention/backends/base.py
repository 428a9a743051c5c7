"""The base of the fused kernels: limits as data, and one call.

A mask must lower to what the library skips by (flags, one key interval a query, a
predicate inside the kernel); one that does not is unsupported, never made into a T x S
tensor. A query that sees nothing gives 0 with zero gradients, as everywhere here.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.device import generation, vendor
from attn.errors import UserError
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask
from attn.parallel.shard import over_mesh

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True)
class CallShape:
    """The static facts of a call: sizes, dtype, mask, device, required capabilities."""

    B: int
    T: int
    S: int
    N: int
    K: int
    H: int
    Hv: int
    dtype: str
    mask: Mask
    required: frozenset[str] = field(default_factory=frozenset)
    """Names from `attn.kernels.base.CAPABILITIES`: bias, packing, softcap, ..."""
    device: str = "cpu"
    """jax's `device_kind`, from `attn.device.device_kind`."""


@dataclass(frozen=True)
class Backend:
    """The base of the fused kernels; limits are class attributes, to be listed."""

    name: ClassVar[str]
    source: ClassVar[str]
    """The library call that this wraps."""
    packages: ClassVar[tuple[str, ...]]
    """Packages of which any one must be installed."""
    install: ClassVar[str]
    """The remedy where none of them is installed."""
    by_name_only: ClassVar[bool] = False
    """Whether `auto` passes it over, as one whose speed no device has told."""
    vendor: ClassVar[str]
    least_generation: ClassVar[float]
    """The earliest device generation supported, as in `attn.device.generation`."""
    dtypes: ClassVar[tuple[str, ...]]
    can: ClassVar[frozenset[str]]
    head_multiple: ClassVar[int]
    """A number that must divide H and Hv."""
    head_max: ClassVar[int]
    own_value_dim: ClassVar[bool]
    """Whether Hv may differ from H."""
    length_multiple: ClassVar[int] = 1
    """A number that must divide T and S."""

    def why_unsupported(self, shape: CallShape) -> str | None:
        """Returns the reason why this kernel cannot serve `shape`; None if it can.

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
            reason = check(shape)
            if reason:
                return reason
        return None

    def _installed(self, shape: CallShape) -> str | None:
        if any(find_spec(package) for package in self.packages):
            return None
        return f"{' or '.join(self.packages)} is not installed; {self.install}"

    def _device(self, shape: CallShape) -> str | None:
        if vendor(shape.device) != self.vendor:
            return f"device {shape.device!r}; it takes {self.vendor} devices"
        version = generation(shape.device)
        if version is None:
            return f"device {shape.device!r} is of no generation known here"
        if version < self.least_generation:
            return (
                f"device {shape.device!r} is of generation {version:g}; it takes "
                f"{self.least_generation:g} and later"
            )
        return None

    def _dtype(self, shape: CallShape) -> str | None:
        if shape.dtype in self.dtypes:
            return None
        return f"dtype {shape.dtype}; it takes {', '.join(self.dtypes)}"

    def _head_dims(self, shape: CallShape) -> str | None:
        for name, size in (("head dim", shape.H), ("value head dim", shape.Hv)):
            if size % self.head_multiple or size > self.head_max:
                multiple = self.head_multiple
                allowed = f"multiples of {multiple} up to" if multiple > 1 else "up to"
                return f"{name} {size}; it takes {allowed} {self.head_max}"
        if shape.Hv != shape.H and not self.own_value_dim:
            return f"value head dim {shape.Hv}; it takes the queries' own, {shape.H}"
        return None

    def _capability(self, shape: CallShape) -> str | None:
        lacking = sorted(shape.required - self.can)
        if not lacking:
            return None
        able = ", ".join(sorted(self.can))
        return f"asked for {', '.join(lacking)}; beyond masks it can {able}"

    def _mask(self, shape: CallShape) -> str | None:
        raise NotImplementedError

    def _lengths(self, shape: CallShape) -> str | None:
        for name, length in (("T", shape.T), ("S", shape.S)):
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
        scoring: Scoring = PLAIN,
        q_info: TokenInfo = NO_INFO,
        kv_info: TokenInfo = NO_INFO,
        lse: bool = False,
    ) -> Any:
        """Attends; does not repeat the checks of `why_unsupported`.

        Args:
            q, k, v: K divides N. On an Explicit mesh, divided over batch and heads.
            mask, scoring: what may be seen, and how scores are made.
            q_info, kv_info: segments, lengths and padding; positions where `can` has
                them.
            lse: whether to return the log-sum-exp too, where `can` has it.

        Returns:
            The output [B, T, N, Hv] in the dtype of `q`; a query that sees nothing
            gives 0. With `lse`, beside it the float32 log-sum-exp [B, T, N].

        Raises:
            UserError: the mesh divides T, S or H, or the keys' heads unlike the
                queries'.
        """

        def local(q, k, v, *, scoring, q_info, kv_info):
            q, k, v = clean(q, k, v, q_info, kv_info)
            return self.local(q, k, v, mask, scoring, q_info, kv_info)

        both = "lse" in self.can
        arrays = q, k, v, scoring, q_info, kv_info
        found = over_mesh(local, *arrays, lse=both, manual=True)
        return found[0] if both and not lse else found

    def local(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Mask,
        scoring: Scoring,
        q_info: TokenInfo,
        kv_info: TokenInfo,
    ) -> Any:
        """Runs the call on one device, for its share of the batch and the heads.

        Gives the output, and the log-sum-exp beside it where `can` has "lse".
        """
        raise NotImplementedError


def lowered(form: tuple[X, Y] | None, mask: Mask) -> tuple[X, Y]:
    """The form that a mask takes in a library.

    Raises:
        UserError: it has none; `why_unsupported` says so beforehand.
    """
    if form is None:
        raise UserError(
            f"mask {mask} has no form for this kernel; ask its `why_unsupported`"
        )
    return form


def clean(
    q: Array, k: Array, v: Array, q_info: TokenInfo, kv_info: TokenInfo
) -> tuple[Array, Array, Array]:
    """Zeroes inputs at padding, where 0 times inf would be NaN, in gradients too.

    The transpose of the selection also drops whatever gradient a kernel leaves there.
    """
    queries, keys = q_info.real(q.shape[1]), kv_info.real(k.shape[1])
    return keep(q, queries), keep(k, keys), keep(v, keys)


def keep(x: Array, where: Array | None) -> Array:
    """Keeps `x` [B, L, ...] where `where` [B or 1, L] is True; 0 elsewhere."""
    if where is None:
        return x
    return jnp.where(where[:, :, None, None], x, jnp.zeros((), x.dtype))
