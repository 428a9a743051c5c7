"""Benchmark cases: one attention call of one shape, mask, dtype and direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attn.errors import require_positive
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

    def __post_init__(self):
        require_positive(self, "T", "B", "N", "K", "H", "keys")

    @property
    def S(self) -> int:
        """The number of keys: T unless given."""
        return self.T if self.keys is None else self.keys

    @property
    def mask_name(self) -> str:
        names = [name for name, mask in MASKS.items() if mask == self.mask]
        return names[0] if names else repr(self.mask)

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
        """FLOPs of the matrix products over visible pairs only."""
        forward = 4.0 * self.T * self.S * self.H * self.N * self.B * self.density
        return forward * (BACKWARD if self.backward else 1.0)


@dataclass(frozen=True)
class Race:
    """A case and the rivals that run it; all of them unless named."""

    case: Case
    rivals: tuple[str, ...] = ()
