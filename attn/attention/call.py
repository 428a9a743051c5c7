"""One call of `attend`: its arguments, checked, and the implementation it gets."""

from dataclasses import dataclass, field
from typing import Any

import jax

from attn.attention.backends import CallShape
from attn.attention.choose import choose_implementation
from attn.device import device_kind
from attn.errors import UserError
from attn.kernels.base import CAPABILITIES, Kernel
from attn.masks import FULL, Mask, PerHead
from attn.positions import RelativeBias


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call, as `attn.attend` documents them."""

    kernel: Kernel = field(metadata={"static": True})
    q: Any
    k: Any
    v: Any
    mask: Any = field(default=FULL, metadata={"static": True})
    bias: Any = None
    kv_mask: Any = None
    q_segment_ids: Any = None
    kv_segment_ids: Any = None
    q_positions: Any = None
    kv_positions: Any = None
    q_lengths: Any = None
    kv_lengths: Any = None
    weights: Any = None
    scale: float | None = field(default=None, metadata={"static": True})

    @property
    def moved(self) -> bool:
        """Whether tokens have places that are known at run time only."""
        return self.q_positions is not None or self.kv_positions is not None

    @property
    def pattern(self) -> Mask:
        """What a query sees, by the mask and by the kernel."""
        return self.kernel.pattern(self.mask, self.q.shape[1], self.k.shape[1])

    @property
    def asked(self) -> frozenset[str]:
        """What is asked beyond mask and lengths, by names as in `CAPABILITIES`."""
        relative = isinstance(self.bias, RelativeBias)
        lengths = self.q_lengths is not None or self.kv_lengths is not None
        asked = {
            "key_padding": self.kv_mask is not None,
            "packing": self.kv_segment_ids is not None,
            "positions": self.moved,
            "lengths": lengths,
            "bias": self.bias is not None and not relative,
            "relative_bias": relative,
            "scale": self.scale is not None,
            "softcap": getattr(self.kernel, "softcap", None) is not None,
            "sinks": getattr(self.kernel, "sinks", False),
        }
        return frozenset(name for name, on in asked.items() if on)

    def check(self, lse: bool = False) -> None:
        """Raises `UserError` where arguments disagree or the kernel cannot serve."""
        self._check_kinds()
        self._check_heads()
        self._check_marks()
        self._check_bias()
        (_, T, N, _), S = self.q.shape, self.k.shape[1]
        masks = [self.mask]
        if isinstance(self.mask, PerHead):
            self.mask.check_heads(N)
            masks = self.mask.masks
        asked = set(self.asked & set(CAPABILITIES)) | ({"lse"} if lse else set())
        if self.kv_lengths is not None:
            asked.add("key_padding")
        for mask in masks:
            if not self.moved:
                mask.check(T, S)
            self.kernel.check(mask, T, S, asked)
        self.kernel.check_head(self.q.shape[-1], self.v.shape[-1])
        self._check_weights()

    def _check_kinds(self):
        for name, x in (("q", self.q), ("k", self.k), ("v", self.v)):
            if len(x.shape) != 4 or 0 in x.shape:
                raise UserError(
                    f"{name} is {tuple(x.shape)}; it must be (batch, tokens, heads, "
                    "head dim), none of them 0"
                )
        if not isinstance(self.mask, Mask):
            raise UserError(
                f"mask is {type(self.mask).__name__}; it must be one of attn.masks: an "
                "array goes into Blocks(array, 1), padding into kv_mask"
            )

    def _check_heads(self):
        (B, _, N, H), (Bk, _, K, Hk) = self.q.shape, self.k.shape
        if self.k.shape[:3] != self.v.shape[:3]:
            raise UserError(
                f"k {self.k.shape} and v {self.v.shape} differ in B, S or K"
            )
        if (Bk, Hk) != (B, H):
            raise UserError(f"q {self.q.shape} and k {self.k.shape} differ in B or H")
        if N % K:
            raise UserError(f"q has {N} heads, which {K} key/value heads do not divide")
        if not self.q.dtype == self.k.dtype == self.v.dtype:
            raise UserError(
                f"q, k and v are {self.q.dtype}, {self.k.dtype} and {self.v.dtype}; "
                "cast them to one dtype"
            )

    def _check_marks(self):
        (B, T), S = self.q.shape[:2], self.k.shape[1]
        if (self.q_segment_ids is None) != (self.kv_segment_ids is None):
            raise UserError("q_segment_ids and kv_segment_ids: give both or neither")
        for name, shape in (
            ("kv_mask", (B, S)),
            ("q_segment_ids", (B, T)),
            ("kv_segment_ids", (B, S)),
            ("q_positions", (B, T)),
            ("kv_positions", (B, S)),
            ("q_lengths", (B,)),
            ("kv_lengths", (B,)),
        ):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise UserError(f"{name} is {array.shape}; it must be {shape}")

    def _check_bias(self):
        (B, T, N, _), S = self.q.shape, self.k.shape[1]
        if isinstance(self.bias, RelativeBias):
            heads = {leaf.shape[0] for leaf in jax.tree.leaves(self.bias)}
            if heads != {N}:
                raise UserError(f"bias is of {min(heads)} heads; q has {N}")
        elif self.bias is not None:
            shape = self.bias.shape
            whole = shape[2:] == (T, S) and len(shape) == 4
            if not whole or shape[0] not in (1, B) or shape[1] not in (1, N):
                raise UserError(
                    f"bias is {shape}; it must be (1 or {B}, 1 or {N}, {T}, {S})"
                )

    def _check_weights(self):
        given = bool(self.weights)
        if given != (self.kernel.owns != "nothing"):
            raise UserError(
                f"kernel {self.kernel.name!r} owns {self.kernel.owns}, and weights were "
                f"{'' if given else 'not '}given; they come from its init"
            )

    def resolve(self, impl: str, lse: bool = False) -> tuple[str, dict[str, str]]:
        """The implementation to run, and why not each of the others.

        Of a mask for each head, that of the first head.
        """
        mask = self.mask.masks[0] if isinstance(self.mask, PerHead) else self.mask
        (B, T, N, H), (S, K) = self.q.shape, self.k.shape[1:3]
        sizes = (B, T, S, N, K, H, self.v.shape[-1])
        asked = self.asked | ({"lse"} if lse else set())
        ask = CallShape(*sizes, str(self.q.dtype), mask, asked, device_kind())
        return choose_implementation(self.kernel, ask, impl)
