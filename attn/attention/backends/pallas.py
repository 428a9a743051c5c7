"""A TPU kernel of our own over the tile schedule of any mask, and its limits."""

from dataclasses import dataclass, field
from typing import ClassVar

from attn.attention.backends.base import Backend
from attn.attention.backends.splash import foreign_operations
from attn.masks import FULL, PerHead


@dataclass(frozen=True)
class Pallas(Backend):
    """A Pallas kernel for TPUs of our own: every mask, positions and the log-sum-exp.

    It exists for what splash refuses: masks that look a table up (BigBird's random
    blocks, any layout), positions known at run time, the log-sum-exp with its gradient,
    and lengths that are no multiple of 128. By name only: no device has timed it, so
    `auto` does not take it. TPU alone: its grid runs in order and its sums stay in
    memory from step to step, which a GPU's blocks do not.
    """

    name = "pallas"
    source = "attn.kernels.pallas"
    packages = ("jax",)
    install = "install jax"
    by_name_only = True
    vendor = "TPU"
    least_generation = 4.0
    dtypes = ("bfloat16", "float32")
    can: ClassVar[frozenset[str]] = frozenset(
        {"scale", "softcap", "sinks", "packing", "key_padding", "lengths"}
        | {"positions", "lse"}
    )
    head_multiple = 8
    head_max = 256
    own_value_dim = True

    interpret: bool = field(default=False, kw_only=True)
    """Whether to run in interpret mode: plain jax operations, on any device, slowly."""

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        from attn.kernels.pallas import pallas_attention

        return pallas_attention(
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
        from attn.kernels.pallas import choose_blocks, why_too_large

        mask, T, S = shape.mask, shape.T, shape.S
        if isinstance(mask, PerHead):
            return f"mask {mask} differs between heads; it takes one for all"
        strange = foreign_operations(mask)
        if "positions" not in shape.required:
            blocks = choose_blocks(mask, T, S)
            return why_too_large(mask, T, S, blocks, bool(strange))
        if strange:
            return (
                f"mask {mask} computes {', '.join(strange)} of positions known at run "
                "time, which cannot run inside the kernel"
            )
        return why_too_large(FULL, T, S, choose_blocks(FULL, T, S), False)
