"""How a token knows its place: in its vector, or in a bias of the scores."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def sinusoidal(positions: Int[Array, "*L"], D: int) -> Float[Array, "*L D"]:
    """Vaswani et al. 2017, section 3.5: sines, then cosines, of 10000^(-2i/D) t."""
    angles = _angles(positions, (D + 1) // 2, 2 / D, 10_000.0)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :D]


def rotary(
    x: Float[Array, "B T N H"],
    positions: Int[Array, "#B T"] | None = None,
    *,
    base: float = 10_000.0,
) -> Float[Array, "B T N H"]:
    """Rotates the pairs (x_i, x_{i + H/2}) by position: Su et al. 2021, equation 34.

    Scores of rotated queries and keys depend on their distance only. H must be even.
    """
    T, H = x.shape[1], x.shape[-1]
    at = jnp.arange(T)[None] if positions is None else positions
    angles = _angles(at, H // 2, 2 / H, base)
    sin, cos = (f(angles)[:, :, None, :] for f in (jnp.sin, jnp.cos))
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(
        x.dtype
    )


def _angles(positions, count: int, step: float, base: float):
    rates = base ** (-step * jnp.arange(count))
    return positions[..., None] * jnp.expand_dims(rates, range(positions.ndim))


class RelativeBias:
    """A bias of the scores that depends on the distance s - t of key and query.

    Never held as a T x S array: kernels ask for it tile by tile. Subclasses are
    dataclasses whose arrays begin with the head, or have no such axis for one head.
    Their fields are not typed as arrays: transforms put leaves of their own there.
    """

    def at(self, distance: Int[Array, "*place"]) -> Float[Array, "..."]:
        """The bias of each head at each distance."""
        raise NotImplementedError

    def tile(self, distance: Int[Array, ""], C: int, D: int) -> Float[Array, "*heads C D"]:  # fmt: skip
        """The bias of C queries and D keys; `distance` is that of the first of both."""
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
    """-slope |s - t|: Press et al. 2022 (ALiBi), section 3."""

    slopes: Any
    """[*heads]: how fast a head forgets, as `alibi_slopes` gives them."""

    def at(self, distance):
        heads, places = self.slopes.ndim, distance.ndim
        slopes = jnp.expand_dims(self.slopes, range(heads, heads + places))
        return -slopes * jnp.abs(jnp.expand_dims(distance, range(heads)))

    def tile(self, distance, C, D):
        return self.at(distance + jnp.arange(D)[None, :] - jnp.arange(C)[:, None])


def alibi_slopes(N: int) -> Float[Array, "N"]:
    """Slopes of N heads: Press et al. 2022, section 3 and footnote 10.

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
    """A learned number for each bucket of distances: Raffel et al. 2020, section 2.1.

    The first half of the buckets of a direction hold one distance each; the others grow
    logarithmically up to `max_distance`, and the last takes all beyond.
    """

    table: Any
    """[*heads, L]."""
    bidirectional: bool = field(default=True, metadata={"static": True})
    """Whether keys after the query have buckets of their own, as in an encoder."""
    max_distance: int = field(default=128, metadata={"static": True})

    def bucket(self, distance: Int[Array, "*place"]) -> Int[Array, "*place"]:
        """Which of the L numbers a distance reads."""
        L = self.table.shape[-1]
        behind = -distance
        first = jnp.zeros_like(distance)
        if self.bidirectional:
            L //= 2
            first = jnp.where(distance > 0, L, 0)
            behind = jnp.abs(distance)
        behind = jnp.maximum(behind, 0)
        exact = L // 2
        far = jnp.log(jnp.maximum(behind, exact) / exact)
        far = far / np.log(self.max_distance / exact) * (L - exact)
        far = jnp.minimum(exact + far.astype(distance.dtype), L - 1)
        return first + jnp.where(behind < exact, behind, far)

    def at(self, distance):
        return jnp.take(self.table, self.bucket(distance), axis=-1)
