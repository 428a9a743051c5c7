"""Runners of `attn.attend`: softmax by each implementation, and all mechanisms."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache

import jax

from attn.attention import attend
from attn.attention.backends import BACKENDS
from attn.attention.call import Call, make_call
from attn.attention.choose import choose_implementation
from attn.bench.cases import Case
from attn.bench.rival import JaxRival
from attn.bench.suite import Knob, Scaling
from attn.errors import UserError, unknown
from attn.kernels import KERNELS, Kernel, Softmax
from attn.masks import FULL, Causal, Mask

OURS = "attn"
"""The runner that every ratio refers to: `attn.attend` by default."""


class Ours(JaxRival):
    """The runner of `attn.attend` with softmax, by one implementation."""

    family = Softmax.family

    def __init__(self, name: str, impl: str, mechanism: str = Softmax.name):
        self.name, self.impl, self.mechanism = name, impl, mechanism

    def spec(self, T: int) -> Kernel:
        """The mechanism with its knobs for a sequence of T tokens."""
        return Softmax()

    def mask(self, case: Case) -> Mask:
        """The mask that it runs under."""
        return case.mask

    def kernel(self, case: Case) -> Kernel:
        """The mechanism that it computes of a case."""
        return self.spec(case.T) if case.is_softmax else KERNELS[case.mechanism]()

    def computes(self, mechanism: str) -> bool:
        """Whether it has a form of a mechanism: by `auto`, of every one."""
        return self.impl == "auto" or super().computes(mechanism)

    def why_unsupported(self, case: Case) -> str | None:
        chosen = chosen_by_auto(case)
        if self.impl == chosen:
            return f"attn chose {chosen}: the same program"
        fused = BACKENDS.get(self.impl)
        return fused and fused.why_unsupported(call_of(case).shape())

    def note(self, case: Case) -> str:
        return chosen_by_auto(case) if self.impl == "auto" else ""

    def extras(self, case: Case) -> list:
        """The mechanism's weights or random features, if it has any."""
        owned = self.kernel(case).init_heads(
            jax.random.key(0), case.N, head_dim=case.H, kv_len=case.S
        )
        return [owned] if owned else []

    def trains_extras(self, case: Case) -> bool:
        return self.kernel(case).owns == "weights"

    def function(self, case: Case) -> Callable[..., jax.Array]:
        spec, mask = self.kernel(case), self.mask(case)

        def call(q, k, v, weights=None):
            return attend(spec, q, k, v, mask=mask, weights=weights, impl=self.impl)

        return call


@lru_cache
def chosen_by_auto(case: Case) -> str:
    """The implementation that `attn.attend` chooses by default; compiles nothing."""
    call = call_of(case)
    return choose_implementation(call.kernel, call.shape())[0]


def call_of(case: Case) -> Call:
    """The call of a case's mechanism, on the shapes of its inputs."""
    q, k = (
        jax.ShapeDtypeStruct((case.B, tokens, heads, case.H), case.dtype)
        for tokens, heads in ((case.T, case.N), (case.S, case.K))
    )
    return make_call(KERNELS[case.mechanism](), q, k, k, mask=case.mask)


class Mechanism(Ours):
    """`attn.attend` with a mechanism; causal if it can be, else bidirectional.

    Its output is not held against softmax, which most are not: tests hold each against
    its own definition. Where it trains weights their gradients are taken too.
    """

    promises = False

    def __init__(self, name: str, knobs: Mapping[str, Knob]):
        super().__init__(name, "auto", name)
        self.family, self.knobs = KERNELS[name].family, knobs

    def spec(self, T: int) -> Kernel:
        values = {k: x(T) if callable(x) else x for k, x in self.knobs.items()}
        return KERNELS[self.name](**values)

    def mask(self, case: Case) -> Mask:
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


def implementations() -> tuple[str, ...]:
    """The names of the implementations of softmax, the kernels of all devices among them."""
    return (*Softmax.implementations, *BACKENDS)


def runners(scaling: Scaling) -> tuple[Ours, ...]:
    """The runners: softmax first, as all ratios are to it; its definition; others."""
    for name in scaling.mechanisms:
        if name not in KERNELS:
            raise unknown("mechanism", name, KERNELS)
    names = [name for name in scaling.mechanisms or KERNELS if name != Softmax.name]
    return (
        Ours(OURS, "auto"),
        Ours(f"{OURS} dense", "dense", "softmax by definition"),
        *(Mechanism(name, scaling.knobs.get(name, {})) for name in names),
    )
