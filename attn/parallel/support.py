"""The table of what a mesh's `seq` axis serves: mechanism, mask, and strategies."""

from dataclasses import replace
from typing import NamedTuple

from attn.errors import UserError
from attn.kernels import KERNELS, Kernel, Softmax
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
SENT = {
    "scan": ("all-gather", "reduce-scatter"),
    "ring": ("collective-permute",),
    "all_to_all": ("all-to-all",),
    "all_gather": ("all-gather", "reduce-scatter"),
}
"""The collectives of each strategy, forward and backward, beside gradients of weights."""


class Support(NamedTuple):
    """The strategies that serve one mechanism under one kind of mask."""

    kernel: str
    mask: str
    strategies: tuple[str, ...]
    """Empty where the mechanism takes the mask and no strategy serves them."""
    sinks: tuple[str, ...] = ()
    """Those that serve it with sinks; empty, too, where it cannot have any."""


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
    able, sinks = _able(kernel, seen), ()
    if isinstance(kernel, Softmax):
        sinks = _able(replace(kernel, sinks=True), seen)
    return Support(kernel.name, mask, able, sinks)


def _able(kernel: Kernel, mask: Mask) -> tuple[str, ...]:
    """The strategies that serve a mechanism, with its knobs as they are, under a mask."""
    call = Division(kernel, mask, LENGTH, LENGTH, HEADS, HEADS, PARTS)
    return tuple(name for name in STRATEGIES if why_unsupported(name, call) is None)


def table() -> list[Support]:
    """The rows of every mechanism in `KERNELS`, with its knobs as they are by default."""
    rows = (support(kind(), mask) for kind in KERNELS.values() for mask in MASKS)
    return [row for row in rows if row is not None]
