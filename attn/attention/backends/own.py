"""The base of our own fused kernels: any mask, as its predicate or as tables of pairs."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from attn.attention.backends.base import Backend, CallShape
from attn.attention.backends.splash import foreign_operations
from attn.masks import FULL, Mask, PerHead


@dataclass(frozen=True)
class Own(Backend):
    """A Pallas kernel over the tiles of a mask, and what such kernels can.

    Pallas takes a tenth of a second to load, so the call alone does it.
    """

    can: ClassVar[frozenset[str]] = frozenset(
        {"scale", "softcap", "sinks", "packing", "key_padding", "lengths"}
        | {"positions", "lse"}
    )
    head_max = 256
    own_value_dim = True

    interpret: bool = field(default=False, kw_only=True)
    """Whether to run in interpret mode: plain jax operations, on any device, slowly."""

    @abstractmethod
    def attention(self) -> Callable[..., Any]:
        """Loads the function that attends."""

    @abstractmethod
    def why_too_large(self, mask: Mask, shape: CallShape, tabled: bool) -> str | None:
        """Returns the reason why a mask's tiles are beyond the limits, if they are."""

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        return self.attention()(
            q,
            k,
            v,
            mask=mask,
            scoring=scoring,
            q_info=q_info,
            kv_info=kv_info,
            tabled=bool(foreign_operations(mask)),
            interpret=self.interpret,
        )

    def _mask(self, shape):
        mask = shape.mask
        if isinstance(mask, PerHead):
            return f"mask {mask} differs between heads; it takes one for all"
        strange = foreign_operations(mask)
        if "positions" not in shape.required:
            return self.why_too_large(mask, shape, bool(strange))
        if strange:
            return (
                f"mask {mask} computes {', '.join(strange)} of positions known at run "
                "time, which cannot run inside the kernel"
            )
        return self.why_too_large(FULL, shape, False)
