"""Position encodings: in the token vectors, by rotation, or in a bias of the scores."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Num

from attn.errors import UserError, require_above_zero


def sinusoidal(positions: Num[Array, "*L"], D: int) -> Float[Array, "*L D"]:
    """Computes sines, then cosines, of 10000^(-2i/D) t: Vaswani et al. 2017, 3.5.

    Float32, or the dtype of float64 positions.
    """
    dtype = jnp.promote_types(positions.dtype, jnp.float32)
    angles = _angles(positions, (D + 1) // 2, 2 / D, 10_000.0, dtype)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :D]


def rotary(
    x: Float[Array, "B T N H"],
    positions: Num[Array, "#B T"] | None = None,
    *,
    base: float = 10_000.0,
    dim: int | None = None,
    scaling: "RopeScaling | None" = None,
) -> Float[Array, "B T N H"]:
    """Rotates the pairs (x_i, x_{i + H/2}) by position: Su et al. 2021, equation 34.

    Scores of rotated queries and keys depend on their distance only. Angles and
    products are float32, of float64 `x` float64.

    Args:
        positions: of the tokens; 0, 1, 2, ... unless given.
        base: pair i is rotated by base^(-2i/H) a position.
        dim: the number of channels that are rotated, the first ones, in place of all H.
        scaling: how the frequencies are changed for longer sequences.

    Raises:
        UserError: H, or `dim`, is odd.
    """
    T, H = x.shape[1], x.shape[-1] if dim is None else dim
    if H % 2:
        raise UserError(
            f"head dim {H} is odd; rotary positions rotate pairs of channels"
        )
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    at = jnp.arange(T)[None] if positions is None else positions
    angles = _angles(at, H // 2, 2 / H, base, dtype, scaling)[:, :, None]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    a, b = jnp.split(x[..., :H].astype(dtype), 2, axis=-1)
    rotated = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    rotated = rotated.astype(x.dtype)
    return rotated if dim is None else jnp.concatenate([rotated, x[..., H:]], axis=-1)


@dataclass(frozen=True)
class RopeScaling:
    """The base of changes to rotary frequencies, for sequences beyond those trained on."""

    name: ClassVar[str]

    def rates(self, rates: Float[Array, "C"]) -> Float[Array, "C"]:
        """The frequencies, in radians a position, in place of these."""
        raise NotImplementedError


@dataclass(frozen=True)
class LinearScaling(RopeScaling):
    """Frequencies divided by a factor: position interpolation, Chen et al. 2023."""

    name = "linear"

    factor: float = 2.0
    """How many times longer sequences may be."""

    def __post_init__(self):
        require_above_zero(self, "factor")

    def rates(self, rates):
        return rates / self.factor


@dataclass(frozen=True)
class Llama3Scaling(RopeScaling):
    """Low frequencies divided by a factor, high ones kept, and a ramp between: LLaMA 3.1.

    A frequency's wavelength is 2 pi / rate positions. Those above `original_len /
    low_freq_factor` are low, those below `original_len / high_freq_factor` high.
    """

    name = "llama3"

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_len: int = 8192
    """The longest sequence of the training before."""

    def __post_init__(self):
        require_above_zero(self, "factor", "low_freq_factor", "original_len")
        if self.high_freq_factor <= self.low_freq_factor:
            raise UserError(
                f"Llama3Scaling.high_freq_factor = {self.high_freq_factor}; it must be above "
                f"low_freq_factor = {self.low_freq_factor}"
            )

    def rates(self, rates):
        turns = self.original_len * rates / (2 * jnp.pi)
        low, high = self.low_freq_factor, self.high_freq_factor
        kept = jnp.clip((turns - low) / (high - low), 0, 1)
        return (1 - kept) * rates / self.factor + kept * rates


ROPE_SCALINGS = {scaling.name: scaling for scaling in (LinearScaling, Llama3Scaling)}
"""Every change to rotary frequencies by its name."""


def _angles(
    positions: Num[Array, "*L"],
    count: int,
    step: float,
    base: float,
    dtype: Any,
    scaling: RopeScaling | None = None,
) -> Float[Array, "*L C"]:
    rates = base ** (-step * jnp.arange(count, dtype=dtype))
    rates = rates if scaling is None else scaling.rates(rates)
    rates = jnp.expand_dims(rates, range(positions.ndim))
    return positions.astype(dtype)[..., None] * rates


class RelativeBias:
    """A bias of the scores that depends on the distance s - t of key and query.

    Never held as a T x S array: kernels ask for it tile by tile. Subclasses are
    dataclasses whose arrays begin with the head, or have no such axis for one head.
    Their fields are not typed as arrays: transforms put leaves of their own there.
    """

    def at(self, distance: Int[Array, "*L"]) -> Float[Array, "..."]:
        """The bias of each head at each distance."""
        raise NotImplementedError

    def tile(self, distance: Int[Array, ""], C: int, D: int) -> Float[Array, "*heads C D"]:  # fmt: skip
        """The bias of C queries and D keys; `distance` is that of their first ones."""
        # All pairs on a diagonal share a value: compute one each, and shear them.
        band = self.at(distance + jnp.arange(1 - C, D))
        *heads, width = band.shape
        band = jnp.pad(band, [(0, 0)] * len(heads) + [(0, 1)])
        rows = jnp.broadcast_to(band[..., None, :], (*heads, C, width + 1))
        sheared = rows.reshape(*heads, -1)[..., : C * width].reshape(*heads, C, width)
        return sheared[..., C - 1 :]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Alibi(RelativeBias):
    """The bias -slope |s - t|: Press et al. 2022 (ALiBi), section 3."""

    slopes: Any
    """Slopes [*heads]: the decay of each head, as from `alibi_slopes`."""

    def at(self, distance):
        heads, axes = self.slopes.ndim, distance.ndim
        slopes = jnp.expand_dims(self.slopes, range(heads, heads + axes))
        return -slopes * jnp.abs(jnp.expand_dims(distance, range(heads)))

    def tile(self, distance, C, D):
        return self.at(distance + jnp.arange(D)[None, :] - jnp.arange(C)[:, None])


def alibi_slopes(N: int) -> Float[Array, "N"]:
    """Computes the slopes of N heads: Press et al. 2022, section 3 and footnote 10.

    The geometric sequence from 2^(-8/N); where N is no power of two, that of the power
    below, then every other one of the power above.
    """
    power = 2 ** int(np.log2(N))
    slopes = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    above = 2.0 ** (-8 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return jnp.asarray(np.concatenate([slopes, above[: N - power]]), jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class T5Bias(RelativeBias):
    """A learned bias for each bucket of distances: Raffel et al. 2020, section 2.1.

    The first half of the buckets of a direction hold one distance each; the others grow
    logarithmically up to `max_distance`, and the last takes all beyond.
    """

    table: Any
    """The learned bias of each bucket, [*heads, L]."""
    bidirectional: bool = field(default=True, metadata={"static": True})
    """Whether keys after the query have buckets of their own, as in an encoder."""
    max_distance: int = field(default=128, metadata={"static": True})

    def bucket(self, distance: Int[Array, "*L"]) -> Int[Array, "*L"]:
        """The bucket of each distance, exact at every edge."""
        L = self.table.shape[-1]
        behind = -distance
        first = jnp.zeros_like(distance)
        if self.bidirectional:
            L //= 2
            first = jnp.where(distance > 0, L, 0)
            behind = jnp.abs(distance)
        behind = jnp.maximum(behind, 0)
        exact = L // 2
        edges = np.asarray(_edges(exact, L - exact, self.max_distance), np.int32)
        far = jnp.searchsorted(edges, behind, side="right", method="compare_all")
        return first + jnp.where(behind < exact, behind, exact + far)

    def at(self, distance):
        bucket = self.bucket(distance)
        table, rows = (jax.typeof(x).sharding for x in (self.table, bucket))
        if AxisType.Explicit not in table.mesh.axis_types:
            return jnp.take(self.table, bucket, axis=-1)
        # Heads and rows may lie along different mesh axes, which jax asks to be told.
        laid = P(*table.spec[:-1], *rows.spec)
        return self.table.at[..., bucket].get(out_sharding=laid)


def _edges(exact: int, n: int, max_distance: int) -> list[int]:
    """The first distance of each logarithmic bucket from `exact` on but the first.

    log(d / exact) / log(max_distance / exact) n >= j in whole numbers: a logarithm in
    float32 rounds the edges that are whole distances to either side.
    """

    def reached(d: int, j: int) -> bool:
        return d**n >= max_distance**j * exact ** (n - j)

    distances = range(exact, max(exact, max_distance) + 1)
    return [
        distances[bisect_left(distances, True, key=lambda d, j=j: reached(d, j))]
        for j in range(1, n)
    ]
