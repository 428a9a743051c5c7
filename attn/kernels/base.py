"""The base of mechanisms: a frozen dataclass that is name, knobs and callable.

A kernel computes one head of one sequence. `attn.attend` lifts it over batch, heads
and groups with `jax.vmap`, so it holds no collective and names no mesh axis.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from attn.errors import UserError
from attn.kernels.scoring import Scoring
from attn.masks import FULL, Causal, Mask
from attn.masks.lifetime import num_slots

Family = Literal["dense", "sparse", "lowrank", "recurrent"]
Weights = Mapping[str, Array]

CAPABILITIES = {
    "causal": "runs under Causal(), and then no output depends on a later key",
    "bidirectional": "runs with no mask",
    "any_mask": "runs under every mask of attn.masks",
    "cross": "takes keys of another length than the queries",
    "key_padding": "takes kv_mask: keys that are padding change nothing",
    "packing": "takes segment ids: a query sees its own segment only",
    "positions": "takes positions of tokens that are known at run time",
    "bias": "takes a bias, added to the scores",
    "relative_bias": "takes a bias computed from distances: ALiBi, T5",
    "scale": "takes a scale of the scores",
    "lse": "gives the log-sum-exp of the scores",
    "map": "applies one T x S map to every channel of the values",
    "decoding": "takes one token at a time, with a cache of `state_size` numbers",
    "exact": "is softmax attention under its mask, not an approximation of it",
    "normalised": "has a map whose rows sum to 1 where a query sees anything",
}
TRAITS = frozenset({"exact", "normalised"})
"""The members of `CAPABILITIES` that describe a kernel and that no call requires."""


@dataclass(frozen=True)
class Kernel:
    """A mechanism for one head of one sequence; `can` is a subset of `CAPABILITIES`."""

    name: ClassVar[str]
    family: ClassVar[Family]
    can: ClassVar[frozenset[str]]
    implementations: ClassVar[tuple[str, ...]] = ("direct",)
    """Ways to compute the same thing on every device: the first is what `auto` takes on
    short sequences, the last what it takes on long ones. Where there are several, of
    one head each (not `over_all_heads`), the call takes `form`, which is one of
    them."""
    over_all_heads: ClassVar[bool] = False
    """Whether "blockwise" runs over all heads at once, in `attn.attention.tiles`."""
    backends: ClassVar[tuple[str, ...]] = ()
    """Libraries' kernels that also compute it, on some devices:
    `attn.attention.backends`."""

    strategies: ClassVar[tuple[str, ...]] = ("all_to_all",)
    """Ways to compute it where a mesh divides the sequence: `attn.parallel.strategies`."""

    keeps: ClassVar[Literal["state", "keys"]] = "state"
    """What decoding keeps: a state, by `begin` and `step`; or keys and values, each
    until the last query that sees it."""
    rotates: ClassVar[bool] = True
    """Whether rotary positions apply: q k products then depend on the distance alone."""
    head_norm: ClassVar[bool] = False
    """Whether the layer normalises each head's output, as in the paper."""

    mixes_queries: ClassVar[bool] = False
    """Whether the output of a query depends on other queries, which lets a decoder's
    cross-attention see later tokens."""
    head_multiple: ClassVar[int] = 1
    """A number that must divide H."""
    least: ClassVar[Mapping[str, int]] = {}
    """The minimum of each knob."""
    within: ClassVar[tuple[str, ...]] = ()
    """Knobs that must not exceed the sequence length."""

    def __post_init__(self):
        for field, low in self.least.items():
            if getattr(self, field) < low:
                raise bad_knob(self, field, f"it must be at least {low}")

    @property
    def reads(self) -> frozenset[str]:
        """The ones of q, k and v that it reads; a layer does not make the others."""
        return frozenset("qkv")

    @property
    def owns(self) -> Literal["nothing", "weights", "features"]:
        """The kind of arrays that `init` makes: none, weights, or random features."""
        return "nothing"

    def init(self, key: Array, *, head_dim: int, kv_len: int) -> dict[str, Array]:
        """Makes the weights of one head, if any: trained, or random features."""
        return {}

    def init_heads(
        self, key: Array, num_heads: int, *, head_dim: int, kv_len: int
    ) -> dict[str, Array]:
        """Makes the weights of every head, stacked; overridden where heads differ."""

        def one(key: Array) -> dict[str, Array]:
            return self.init(key, head_dim=head_dim, kv_len=kv_len)

        return jax.vmap(one)(jax.random.split(key, num_heads))

    def num_weights(self, H: int, S: int) -> int:
        """The number of trained weights of one head, as `init` makes them."""
        return 0

    def pattern(self, mask: Mask, T: int, S: int) -> Mask:
        """The mask that is in force on T × S when the caller asks for `mask`."""
        return mask

    def num_pairs(self, mask: Mask, T: int, S: int) -> int | None:
        """Pairs of a query and a key that one head weighs; None where content decides."""
        return None

    def flops(self, T: int, S: int, H: int, Hv: int, mask: Mask) -> float:
        """Matmul FLOPs of one head, forward."""
        raise NotImplementedError

    def own_scoring(self, scoring: Scoring, weights: Weights | None) -> Scoring:
        """The scoring in force: the call's, with the kernel's own knobs and weights."""
        return scoring

    def state_size(self, S: int, H: int, Hv: int, mask: Mask) -> int:
        """Numbers of the cache of one key/value head that decodes S tokens under a mask."""
        if self.keeps == "keys":
            return num_slots(self.kept(mask, S), S) * (H + Hv)
        raise NotImplementedError

    def kept(self, mask: Mask, L: int) -> Mask:
        """The mask by which keys are kept, where L tokens are decoded under `mask`."""
        return self.pattern(mask, L, L)

    def on_cache(self, mask: Mask, L: int) -> tuple["Kernel", Mask]:
        """The kernel and the mask that attend to cached keys by their positions."""
        return self, self.pattern(mask, L, L)

    def begin(self, H: int, Hv: int) -> Any:
        """The state of a head before the first token, in float32."""
        raise NotImplementedError

    def step(
        self,
        state: Any,
        q: Array,
        k: Array,
        v: Array,
        *,
        weights: Weights | None = None,
    ) -> tuple[Any, Array]:
        """Decodes one token from q [H], k [H], v [Hv]: new state, and output [Hv]."""
        raise NotImplementedError

    def absorb(
        self,
        q: Array,
        k: Array,
        v: Array,
        real: Array,
        *,
        weights: Weights | None = None,
    ) -> Any:
        """The state after q [T, H], k [T, H], v [T, Hv], of which `real` [T] count.

        Token by token; overridden where a form of the mechanism is faster.
        """

        def one(state, token):
            *x, counts = token
            new, _ = self.step(state, *x, weights=weights)
            return jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, state), None

        return lax.scan(one, self.begin(q.shape[1], v.shape[1]), (q, k, v, real))[0]

    def check_length(self, T: int) -> None:
        """Raises `UserError` if T tokens are too few for a knob."""
        for field in self.within:
            if getattr(self, field) > T:
                raise bad_knob(self, field, f"the sequence has {T} tokens")

    def check_head(self, H: int, Hv: int) -> None:
        """Raises `UserError` for head widths on which it is undefined."""
        if H % self.head_multiple:
            raise UserError(
                f"head dim {H}; kernel {self.name!r} takes multiples of "
                f"{self.head_multiple}"
            )

    def needs(self, mask: Mask, T: int, S: int) -> list[str]:
        """The capabilities that these lengths and this mask require."""
        if "any_mask" in self.can:
            shape = []
        elif mask == FULL:
            shape = ["bidirectional"]
        else:
            shape = ["causal"] if mask == Causal() else ["any_mask"]
        return shape + ["cross"] * (T != S)

    def check(self, mask: Mask, T: int, S: int, required: Collection[str] = ()) -> None:
        """Raises `UserError` that names the first of `CAPABILITIES` that it lacks.

        Args:
            required: what the call asks beyond its mask and its lengths.
        """
        for name in [*self.needs(mask, T, S), *sorted(required)]:
            if name not in self.can:
                raise self.unable(name, f"asked with mask {mask}, T = {T}, S = {S}")

    def unable(self, capability: str, asked: str) -> UserError:
        """Makes the error for a call that needs a capability the kernel lacks."""
        return UserError(
            f"kernel {self.name!r} cannot do {capability!r} (a kernel that can "
            f"{CAPABILITIES[capability]}); {asked}; "
            f"it can: {', '.join(sorted(self.can))}"
        )

    def __call__(self, q: Array, k: Array, v: Array, *, mask: Mask) -> Array:
        """Attends: q [T, H], k [S, H], v [S, Hv] to [T, Hv]."""
        raise NotImplementedError


def bad_knob(kernel: Kernel, field: str, why: str) -> UserError:
    """Makes the error for a knob of a kernel that is out of range."""
    return UserError(f"{kernel.name}.{field} = {getattr(kernel, field)}; {why}")


def sums_dtype(x: Array) -> Any:
    """The accumulator dtype for an array: at least float32."""
    return jnp.promote_types(x.dtype, jnp.float32)


def wide(x: Array) -> Array:
    """Converts to float32, unless the dtype is wider already."""
    return x.astype(sums_dtype(x))


def matmul_flops(*sizes: Any) -> float:
    """FLOPs of a matrix product whose loops have these sizes."""
    total = 2.0
    for size in sizes:
        total *= size
    return total
