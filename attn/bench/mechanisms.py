"""The runners of a scaling suite: every registered mechanism, and softmax twice."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import jax

from attn.attention import attend
from attn.bench.cases import Case
from attn.bench.libraries import OURS, Ours
from attn.bench.rival import JaxRival
from attn.bench.suite import Knob, Scaling
from attn.errors import UserError, unknown
from attn.kernels import KERNELS, Kernel, Softmax
from attn.masks import FULL, Causal, Mask


class Dense(Ours):
    """Softmax as `auto` takes it, or by its definition, under a mechanism's name."""

    family = Softmax.family

    def __init__(self, name: str, impl: str, mechanism: str):
        super().__init__(name, impl)
        self.mechanism = mechanism


class Mechanism(JaxRival):
    """`attn.attend` with a mechanism; causal where it can, else over all keys.

    Its output is not held against softmax, which most are not: tests hold each against
    its own definition. Where it trains weights their gradients are taken too.
    """

    promises = False

    def __init__(self, name: str, knobs: Mapping[str, Knob]):
        self.name = self.mechanism = name
        self.family = KERNELS[name].family
        self.knobs = knobs

    def spec(self, T: int) -> Kernel:
        """The mechanism with its knobs for a sequence of T tokens."""
        values = {k: x(T) if callable(x) else x for k, x in self.knobs.items()}
        return KERNELS[self.name](**values)

    def mask(self, case: Case) -> Mask:
        """What a query sees: the keys before it where the mechanism can be causal."""
        return Causal() if "causal" in self.spec(case.T).can else FULL

    def why_unsupported(self, case: Case) -> str | None:
        spec = self.spec(case.T)
        try:
            spec.check_length(case.T)
            spec.check_head(case.H, case.H)
            spec.check(self.mask(case), case.T, case.T)
        except UserError as error:
            return str(error)
        return None

    def note(self, case: Case) -> str:
        spec = self.spec(case.T)
        known = [field.name for field in fields(spec)]
        said = [f"{k} {getattr(spec, k)}" for k in self.knobs if k in known]
        return ", ".join(said + ["over all keys"] * (self.mask(case) == FULL))

    def extras(self, case: Case) -> list:
        weights = self.spec(case.T).init_heads(
            jax.random.key(0), case.N, head_dim=case.H, kv_len=case.S
        )
        return [weights] if weights else []

    def trains_extras(self, case: Case) -> bool:
        return self.spec(case.T).owns == "weights"

    def function(self, case: Case) -> Callable[..., jax.Array]:
        spec, mask = self.spec(case.T), self.mask(case)

        def call(q, k, v, weights=None):
            return attend(spec, q, k, v, mask=mask, weights=weights)

        return call


def runners(scaling: Scaling) -> tuple[Dense | Mechanism, ...]:
    """Softmax first, since every ratio is to it; then by its definition, then others."""
    for name in scaling.mechanisms:
        if name not in KERNELS:
            raise unknown("mechanism", name, KERNELS)
    names = [name for name in scaling.mechanisms or KERNELS if name != Softmax.name]
    return (
        Dense(OURS, "auto", Softmax.name),
        Dense(f"{OURS} dense", "dense", "softmax by definition"),
        *(Mechanism(name, scaling.knobs.get(name, {})) for name in names),
    )
