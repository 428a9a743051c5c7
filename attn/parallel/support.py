"""The table of what a mesh's `seq` axis serves: mechanism, mask, and strategies."""

from typing import NamedTuple

from attn.errors import UserError
from attn.kernels import KERNELS, Kernel
from attn.masks import FULL, Causal, Global, Mask, PerHead, Window
from attn.parallel.strategies import STRATEGIES, Division, why_unsupported

HEADS, LENGTH, PARTS = 4, 16, 2
"""The sizes that the table is made for, of which each divides the one before."""
NEAR = Causal() & (Window(3, 0) | Global(1))
MASKS: dict[str, Mask] = {
    "full": FULL,
    "causal": Causal(),
    "window": NEAR,
    "per_head": PerHead((NEAR, Causal()) * (HEADS // 2)),
}
"""A mask of each kind that strategies tell apart."""


class Support(NamedTuple):
    """The strategies that serve one mechanism under one kind of mask."""

    kernel: str
    mask: str
    strategies: tuple[str, ...]
    """Empty where the mechanism takes the mask and no strategy serves them."""


def support(kernel: Kernel, mask: str) -> Support | None:
    """The strategies that serve a mechanism under a mask of `MASKS`.

    None where the mechanism itself does not take the mask.
    """
    seen = MASKS[mask]
    each = seen.masks if isinstance(seen, PerHead) else (seen,)
    try:
        for one in each:
            kernel.check(one, LENGTH, LENGTH)
    except UserError:
        return None
    call = Division(kernel, seen, LENGTH, LENGTH, HEADS, HEADS, PARTS)
    able = tuple(name for name in STRATEGIES if why_unsupported(name, call) is None)
    return Support(kernel.name, mask, able)


def table() -> list[Support]:
    """The rows of every mechanism in `KERNELS`, with its knobs as they are by default."""
    rows = (support(kind(), mask) for kind in KERNELS.values() for mask in MASKS)
    return [row for row in rows if row is not None]
