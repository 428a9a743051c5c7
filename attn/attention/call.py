"""The arguments of one call of `attend`, in one object."""

from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import jax
from jaxtyping import Array, Bool, Float, Int

from attn.attention.backends import CallShape
from attn.device import device_kind
from attn.errors import unknown
from attn.kernels.base import Kernel, Weights
from attn.kernels.scoring import PLAIN, Scoring
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import FULL, Mask, PerHead
from attn.positions import RelativeBias


class CallOptions(TypedDict, total=False):
    """The optional arguments of a call, as `attend` documents them."""

    mask: Mask | None
    bias: Float[Array, "#B #N T S"] | RelativeBias | None
    kv_mask: Bool[Array, "B S"] | None
    q_segment_ids: Int[Array, "B T"] | None
    kv_segment_ids: Int[Array, "B S"] | None
    q_positions: Int[Array, "B T"] | None
    kv_positions: Int[Array, "B S"] | None
    q_lengths: Int[Array, "B"] | None
    kv_lengths: Int[Array, "B"] | None
    weights: Weights | None
    scale: float | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call, as they pass from `attend` to the tiles."""

    kernel: Kernel = field(metadata={"static": True})
    q: Any
    k: Any
    v: Any
    mask: Any = field(default=FULL, metadata={"static": True})
    weights: Any = None
    scoring: Scoring = PLAIN
    q_info: TokenInfo = NO_INFO
    kv_info: TokenInfo = NO_INFO

    @property
    def pattern(self) -> Mask:
        """The mask in force: the caller's, and the kernel's own."""
        return self.kernel.pattern(self.mask, self.q.shape[1], self.k.shape[1])

    @property
    def whole_scoring(self) -> Scoring:
        """The scoring in force: the call's, and the kernel's own."""
        return self.kernel.own_scoring(self.scoring, self.weights)

    @property
    def has_positions(self) -> bool:
        """Whether tokens have positions that are known only at run time."""
        return any(x.positions is not None for x in (self.q_info, self.kv_info))

    @property
    def required(self) -> frozenset[str]:
        """The capabilities of `CAPABILITIES` that the call needs beyond its mask."""
        scoring, keys = self.whole_scoring, self.kv_info
        relative = isinstance(scoring.bias, RelativeBias)
        required = {
            "key_padding": keys.mask is not None,
            "packing": keys.segment_ids is not None,
            "positions": self.has_positions,
            "lengths": any(x.lengths is not None for x in (self.q_info, keys)),
            "bias": scoring.bias is not None and not relative,
            "relative_bias": relative,
            "scale": scoring.scale is not None,
            "softcap": scoring.softcap is not None,
            "sinks": scoring.sinks is not None,
        }
        return frozenset(name for name, on in required.items() if on)

    def shape(self, lse: bool = False) -> CallShape:
        """The static facts of the call; of a mask for each head, the first's."""
        mask = self.mask.masks[0] if isinstance(self.mask, PerHead) else self.mask
        (B, T, N, H), (S, K) = self.q.shape, self.k.shape[1:3]
        sizes = (B, T, S, N, K, H, self.v.shape[-1])
        required = self.required | ({"lse"} if lse else set())
        return CallShape(*sizes, str(self.q.dtype), mask, required, device_kind())


def make_call(
    kernel: Kernel, q: Any, k: Any, v: Any, **options: Unpack[CallOptions]
) -> Call:
    """Builds the call of a kernel on arrays with options; checks nothing yet."""
    for name in options:
        if name not in CallOptions.__annotations__:
            raise unknown("option", name, CallOptions.__annotations__)
    given = options.get
    return Call(
        kernel,
        q,
        k,
        v,
        FULL if given("mask") is None else given("mask"),
        given("weights"),
        Scoring(scale=given("scale"), bias=given("bias")),
        TokenInfo(given("q_segment_ids"), given("q_positions"), given("q_lengths")),
        TokenInfo(
            given("kv_segment_ids"),
            given("kv_positions"),
            given("kv_lengths"),
            given("kv_mask"),
        ),
    )
