"""A mechanism: one frozen dataclass that is its name, its knobs and its callable.

A kernel computes one head of one sequence. `attn.attend` lifts it over batch, heads
and groups with `jax.vmap`, so it holds no collective and names no mesh axis.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Array

from attn.errors import UserError
from attn.masks import FULL, Causal, Mask

Family = Literal["dense", "sparse", "lowrank", "recurrent"]
Weights = Mapping[str, Array]

CAPABILITIES = {
    "causal": "runs under Causal(), and then no output depends on a later key",
    "bidirectional": "runs with no mask",
    "any_mask": "runs under every mask of attn.masks",
    "cross": "takes keys of another length than the queries",
    "key_padding": "takes kv_mask: keys that are padding change nothing",
    "packing": "takes segment ids: a query sees its own segment only",
    "positions": "takes places of tokens that are known at run time",
    "bias": "takes a bias, added to the scores",
    "relative_bias": "takes a bias computed from distances: ALiBi, T5",
    "scale": "takes a scale of the scores",
    "lse": "gives the log-sum-exp of the scores",
    "exact": "is softmax attention under its mask, not an approximation of it",
}


@dataclass(frozen=True)
class Kernel:
    """One head of one sequence. See `CAPABILITIES` for what `can` may hold."""

    name: ClassVar[str]
    family: ClassVar[Family]
    can: ClassVar[frozenset[str]]
    implementations: ClassVar[tuple[str, ...]] = ("direct",)
    """Ways to compute the same thing on every device. The first is one head's."""
    fused: ClassVar[tuple[str, ...]] = ()
    """Libraries' kernels that compute it too, on some devices: `attn.fused`."""

    @property
    def owns(self) -> Literal["nothing", "weights", "features"]:
        """What `init` gives: nothing, weights to train, or random features to keep."""
        return "nothing"

    def init(self, key: Array, *, head_dim: int, kv_len: int) -> dict[str, Array]:
        """Weights of one head, if it has any: learned, or random features."""
        return {}

    def num_weights(self, H: int, S: int) -> int:
        """Trained numbers of one head, as `init` makes them."""
        return 0

    def pattern(self, mask: Mask, T: int, S: int) -> Mask:
        """What a query sees on T × S when the caller allows `mask`."""
        return mask

    def flops(self, T: int, S: int, H: int, Hv: int, mask: Mask) -> float:
        """Multiplications and additions of one head, forward, counting matmuls."""
        raise NotImplementedError

    def state_size(self, S: int, H: int, Hv: int) -> int:
        """Numbers kept of S keys of one key/value head to decode the next token."""
        raise NotImplementedError

    def check_length(self, T: int) -> None:
        """Raises `UserError` if a text of T tokens makes a knob meaningless."""

    def needs(self, mask: Mask, T: int, S: int) -> list[str]:
        """The capabilities that these lengths under this mask require."""
        if "any_mask" in self.can:
            shape = []
        elif mask == FULL:
            shape = ["bidirectional"]
        else:
            shape = ["causal"] if mask == Causal() else ["any_mask"]
        return shape + ["cross"] * (T != S)

    def check(self, mask: Mask, T: int, S: int, asked: Collection[str] = ()) -> None:
        """Raises `UserError` naming the first of `CAPABILITIES` that it lacks.

        Args:
            asked: what the call asks beyond its mask and its lengths.
        """
        for name in [*self.needs(mask, T, S), *sorted(asked)]:
            if name not in self.can:
                raise UserError(
                    f"kernel {self.name!r} cannot do {name!r} (a kernel that can "
                    f"{CAPABILITIES[name]}); asked with mask {mask}, T = {T}, S = {S}; "
                    f"it can: {', '.join(sorted(self.can))}"
                )

    def __call__(self, q: Array, k: Array, v: Array, *, mask: Mask) -> Array:
        """Attends: q [T, H], k [S, H], v [S, Hv] to [T, Hv]."""
        raise NotImplementedError


def bad_knob(kernel: Kernel, field: str, why: str) -> UserError:
    """The error for a knob of a kernel that is out of range."""
    return UserError(f"{kernel.name}.{field} = {getattr(kernel, field)}; {why}")


def matmul_flops(*sizes: Any) -> float:
    """Of a product whose loops have these sizes."""
    total = 2.0
    for size in sizes:
        total *= size
    return total
