"""BigBird: block-sparse attention with window, global and random blocks."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.base import bad_knob
from attn.kernels.softmax import Softmax
from attn.kernels.sparse.base import SparseSoftmax
from attn.masks import BigBird, Mask


@dataclass(frozen=True)
class BigBirdAttention(SparseSoftmax):
    """Softmax over blocks near the query, the first blocks, and blocks at random.

    Zaheer et al. 2020, section 2 and appendix D, with global tokens inside the sequence
    (their BigBird-ITC): each block of queries sees `num_window` blocks around it, the
    first `num_global`, which also see all, and `num_random` of the others. O(T block
    (num_window + num_global + num_random)) time. Under `Causal()` each looks back only.

    The random blocks are drawn once for a sequence of T tokens, by `seed`, the same in
    all heads: it cannot take keys of another length than the queries (`cross`), nor
    positions known at run time (`positions`), and a sequence padded to another length
    is another draw. Decoding keeps the blocks that some later one has drawn.
    """

    name = "bigbird"
    can: ClassVar[frozenset[str]] = Softmax.can - {"cross", "positions"}
    least: ClassVar = {
        "block": 1,
        "num_window": 1,
        "num_global": 0,
        "num_random": 0,
        "seed": 0,
    }

    block: int = 4
    """Tokens of a block (in the paper 64, for sequences of 4096)."""
    num_window: int = 3
    """Blocks around the query's own, itself included; odd."""
    num_global: int = 2
    """Blocks at the start that see and are seen everywhere."""
    num_random: int = 3
    """Blocks drawn from the others."""
    seed: int = 0
    """The seed of the draw."""

    def __post_init__(self):
        super().__post_init__()
        if self.num_window % 2 == 0:
            why = "it must be odd, as many blocks before as after"
            raise bad_knob(self, "num_window", why)

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        return BigBird(
            T,
            self.block,
            self.num_window,
            self.num_global,
            self.num_random,
            self.seed,
        )

    def check_length(self, T: int) -> None:
        wanted = self.num_window + self.num_global + self.num_random
        blocks = -(-T // self.block)
        if blocks < wanted:
            why = f"{T} tokens are {blocks} blocks of it, and a query sees {wanted}"
            raise bad_knob(self, "block", why)
