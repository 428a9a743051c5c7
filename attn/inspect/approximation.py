"""The error of cheaper attention against softmax, on a trained model's q, k and v.

Each mechanism here approximates softmax attention by one knob: keys that a query sees,
random features, landmarks. What learns its own weights (Linformer, Based) approximates
nothing before it is trained, and is not here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attn.attention import attend
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel, Softmax
from attn.masks import FULL, Mask

Heads = Mapping[str, tuple[Array, Array, Array]]
"""q [B, T, N, H], k and v [B, T, K, H] of each attention layer."""


@dataclass(frozen=True)
class Curve:
    """A mechanism, and the knob that brings it closer to softmax."""

    kernel: str
    knob: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Other knobs, where the defaults are made for longer sequences."""
    most: int | None = None
    """The largest value of the knob; unless given, the sequence length."""

    def at(self, value: int) -> Kernel:
        """The mechanism with its knob at this value."""
        return KERNELS[self.kernel](**{**self.fixed, self.knob: value})


CURVES = (
    Curve("window", "width"),
    Curve("streaming", "width", {"num_first": 4}),
    Curve("topk", "num_keys"),
    Curve("moba", "num_blocks", {"block": 16}),
    Curve("reformer", "num_rounds", {"num_buckets": 8, "chunk": 32}, most=8),
    Curve("performer", "num_features"),
    Curve("nystrom", "num_landmarks"),
)
DRAWS = 8
"""Independent draws of random features."""


@dataclass(frozen=True)
class Point:
    """The error of one mechanism at one value of its knob."""

    kernel: str
    family: str
    knob: str
    value: int
    keys: str
    """Keys of the comparison: "earlier", or "all" where the mechanism is not causal."""
    errors: tuple[float, ...]
    """|out - softmax| / |softmax| (Frobenius, over tokens and channels), the mean over
    heads and sequences, of each draw."""

    @property
    def mean(self) -> float:
        """The mean error over random draws."""
        return float(np.mean(self.errors))


def measure(
    heads: Heads,
    mask: Mask,
    curves: Sequence[Curve] = CURVES,
    say: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Measures every curve on these heads, at powers of 2 up to the sequence length."""
    points = []
    for curve in curves:
        for value in _values(curve, next(iter(heads.values()))[0].shape[1]):
            points.append(_point(curve, value, heads, mask))
            say(f"{curve.kernel}, {curve.knob} = {value}: {points[-1].mean:.3f}")
    return points


def _values(curve: Curve, T: int) -> list[int]:
    """The powers of 2 that are meaningful on T tokens."""
    found, most = [], min(T, curve.most or T)
    for value in (2**i for i in range(most.bit_length())):
        try:
            curve.at(value).check_length(T)
        except UserError:
            continue
        found.append(value)
    return found


def _point(curve: Curve, value: int, heads: Heads, mask: Mask) -> Point:
    kernel = curve.at(value)
    causal = mask == FULL or "causal" in kernel.can
    own_mask = mask if causal else FULL

    @jax.jit
    def one(heads: Heads, key: Array) -> Array:
        errors = []
        for i, (q, k, v) in enumerate(heads.values()):
            drawn = kernel.init_heads(
                jax.random.fold_in(key, i),
                q.shape[2],
                head_dim=q.shape[3],
                kv_len=k.shape[1],
            )
            exact = attend(Softmax(), q, k, v, mask=own_mask)
            out = attend(kernel, q, k, v, mask=own_mask, weights=drawn or None)
            errors.append(relative_error(out, exact))
        return jnp.stack(errors).mean()

    draws = DRAWS if kernel.owns == "features" else 1
    errors = tuple(float(one(heads, jax.random.key(i))) for i in range(draws))
    keys = "earlier" if own_mask != FULL else "all"
    return Point(kernel.name, kernel.family, curve.knob, value, keys, errors)


def relative_error(out: Array, exact: Array) -> Array:
    """The error |out - exact| / |exact| [B, N] of each head, from [B, T, N, H]."""

    def size(x: Array) -> Array:
        return jnp.sqrt(jnp.square(x.astype(jnp.float32)).sum(axis=(1, 3)))

    return size(out - exact) / size(exact)
