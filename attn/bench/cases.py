"""Benchmark cases: one attention call of one shape, mask, dtype and direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attn.errors import require_positive, unknown
from attn.kernels import KERNELS, Softmax
from attn.masks import FULL, BigBird, Causal, Global, Mask, Window

Dtype = Literal["float32", "bfloat16"]

BACKWARD = 3.5
"""Matmul work of forward and backward over that of forward. The backward pass has five
products where the forward has two, so 2.5 times as much: the count of FlashAttention's
benchmarks (Dao 2023, FlashAttention-2, section 4.1)."""

MASKS: Mapping[str, Mask] = {
    "full": FULL,
    "causal": Causal(),
    "window 256": Window(255, 0),
    "causal & window 1024": Causal() & Window(1023, 1023),
    "global 64 | window 256": Global(64) | Window(127, 128),
    "causal & (global 64 | window 1024)": Causal() & (Global(64) | Window(1023, 0)),
    "bigbird, blocks of 64": BigBird(16_384),
}
"""Masks by the name that a table gives them; the last is made for 16,384 tokens."""


def direction(backward: bool) -> str:
    """Names the direction of a call: forward, or with gradients."""
    return "forward + backward" if backward else "forward"


@dataclass(frozen=True)
class Case:
    """One attention call: B batch, T queries, S keys, N and K heads, H head dim."""

    T: int
    mask: Mask = Causal()
    dtype: Dtype = "float32"
    backward: bool = False
    """Whether the gradients of q, k and v are computed too."""
    B: int = 1
    N: int = 8
    K: int = 8
    H: int = 64
    keys: int | None = None
    """The number of keys; as many as queries unless given."""
    mechanism: str = Softmax.name
    """A name in `KERNELS`, with its knobs at their defaults; one that is not softmax has
    a recurrent form, by which it is checked, and as many key/value heads as heads."""

    def __post_init__(self):
        require_positive(self, "T", "B", "N", "K", "H", "keys")
        if self.mechanism not in KERNELS:
            raise unknown("mechanism", self.mechanism, KERNELS)

    @property
    def S(self) -> int:
        """The number of keys: T unless given."""
        return self.T if self.keys is None else self.keys

    @property
    def mask_name(self) -> str:
        """The name of the mask; of another mechanism than softmax with its own before."""
        names = [name for name, mask in MASKS.items() if mask == self.mask]
        name = names[0] if names else repr(self.mask)
        return name if self.is_softmax else f"{self.mechanism}, {name}"

    @property
    def is_softmax(self) -> bool:
        """Whether its mechanism is softmax, which most libraries have alone."""
        return self.mechanism == Softmax.name

    @property
    def direction(self) -> str:
        return direction(self.backward)

    @property
    def shape(self) -> str:
        """The shape as in `1 x 4096 x 8 x 64`: B, T, N, H; also S and K if others."""
        extra = f", {self.S} keys" if self.S != self.T else ""
        extra += f", {self.K} kv heads" if self.K != self.N else ""
        return f"{self.B} x {self.T} x {self.N} x {self.H}{extra}"

    @property
    def name(self) -> str:
        return f"{self.mask_name}, {self.dtype}, {self.shape}, {self.direction}"

    @property
    def density(self) -> float:
        """The visible share of the T x S map."""
        return self.mask.density(self.T, self.S)

    @property
    def useful_flops(self) -> float:
        """FLOPs of the matrix products over visible pairs only, or as a mechanism counts."""
        one = 4.0 * self.T * self.S * self.H * self.density
        if not self.is_softmax:
            kernel = KERNELS[self.mechanism]()
            one = kernel.flops(self.T, self.S, self.H, self.H, self.mask)
        forward = one * self.N * self.B
        return forward * (BACKWARD if self.backward else 1.0)


@dataclass(frozen=True)
class Race:
    """A case and the rivals that run it; unless named, all that compute its mechanism."""

    case: Case
    rivals: tuple[str, ...] = ()
