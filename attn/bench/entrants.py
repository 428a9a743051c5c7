"""Who climbs a ladder: every registered mechanism, with knobs for long texts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields

import jax

from attn.attention import attend
from attn.bench.cases import Case
from attn.bench.rivals import OURS, JaxRival, Ours, Rival
from attn.bench.suites import Ladder
from attn.errors import UserError, unknown
from attn.kernels import KERNELS, Kernel, Softmax
from attn.masks import FULL, Causal, Mask

Knob = int | Callable[[int], int]


def root(T: int) -> int:
    """Of the text, as Child et al. 2019 set the stride: O(T sqrt(T)) time."""
    return round(math.sqrt(T))


KNOBS: Mapping[str, Mapping[str, Knob]] = {
    "window": {"width": 256},
    "dilated": {"width": 128},
    "local": {"block": 256},
    "strided": {"stride": root},
    "fixed": {"stride": root},
    "longformer": {"width": 256, "num_global": 16},
    "bigbird": {"block": 64},
    "streaming": {"width": 256},
    "topk": {"num_keys": 64},
    "reformer": {"num_buckets": 64, "chunk": 64},
    "sinkhorn": {"block": 64},
    "nsa": {"width": 256},
    "performer": {"num_features": 256},
    "linformer": {"rank": 256},
    "nystrom": {"num_landmarks": 64},
}
"""Knobs that differ from their defaults, which are made for short texts.

The same at every length, or a function of it where the paper says so: an exponent is of
the mechanism, and not of how its knobs were turned.
"""


def spec_for(name: str, T: int) -> Kernel:
    """A mechanism with its knobs for a text of T tokens."""
    knobs = KNOBS.get(name, {})
    return KERNELS[name](**{k: x(T) if callable(x) else x for k, x in knobs.items()})


class Entrant(Rival):
    """A rival that is on the ladder by the name of a mechanism."""

    mechanism: str
    family: str


class Dense(Ours, Entrant):
    """Softmax: as it is taken by itself, or by its definition."""

    family = Softmax.family

    def __init__(self, name: str, impl: str, mechanism: str):
        super().__init__(name, impl)
        self.mechanism = mechanism


class Mechanism(JaxRival, Entrant):
    """`attn.attend` with a mechanism; causal where it can, else over all keys.

    What it gives is not held against softmax, which most are not: tests hold each
    against its own definition. Of trained weights the gradients are taken too.
    """

    promises = False

    def __init__(self, name: str):
        self.name = self.mechanism = name
        self.family = KERNELS[name].family

    def mask(self, case: Case) -> Mask:
        return Causal() if "causal" in spec_for(self.name, case.T).can else FULL

    def why_unsupported(self, case: Case) -> str | None:
        spec = spec_for(self.name, case.T)
        try:
            spec.check_length(case.T)
            spec.check_head(case.H, case.H)
            spec.check(self.mask(case), case.T, case.T)
        except UserError as error:
            return str(error)
        return None

    def note(self, case: Case) -> str:
        spec = spec_for(self.name, case.T)
        known = [field.name for field in fields(spec)]
        knobs = [name for name in KNOBS.get(self.name, {}) if name in known]
        said = [f"{name} {getattr(spec, name)}" for name in knobs]
        return ", ".join(said + ["over all keys"] * (self.mask(case) == FULL))

    def extras(self, case: Case) -> list:
        spec = spec_for(self.name, case.T)
        weights = spec.init_heads(
            jax.random.key(0), case.N, head_dim=case.H, kv_len=case.S
        )
        return [weights] if weights else []

    def moves(self, case: Case) -> bool:
        return spec_for(self.name, case.T).owns == "weights"

    def function(self, case: Case) -> Callable[..., jax.Array]:
        spec, mask = spec_for(self.name, case.T), self.mask(case)

        def call(q, k, v, weights=None):
            return attend(spec, q, k, v, mask=mask, weights=weights)

        return call


def entrants(ladder: Ladder) -> tuple[Dense | Mechanism, ...]:
    """Softmax first, since every ratio is to it; then by its definition, then others."""
    for name in ladder.mechanisms:
        if name not in KERNELS:
            raise unknown("mechanism", name, KERNELS)
    names = [name for name in ladder.mechanisms or KERNELS if name != Softmax.name]
    return (
        Dense(OURS, "auto", Softmax.name),
        Dense("attn dense", "dense", "softmax by definition"),
        *map(Mechanism, names),
    )
