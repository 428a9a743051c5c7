"""What a blockwise call knows before any array: its tiles, and how many at a time."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from attn.device import cpu_multiplies, device_kind
from attn.masks import FULL, Mask, Schedule, mask_schedule

BLOCKS = (512, 256, 128)
"""Queries or keys a tile."""
LOAD = 128
"""What reading one query or key of a tile costs, in scores of that tile."""
SCORES_AT_ONCE = 2**20
"""Scores that a step holds, over all its heads: 4 MB in float32."""


@dataclass(frozen=True)
class Plan:
    """Hashable, so one trace serves every call of these shapes."""

    mask: Mask
    scale: float
    softcap: float | None
    T: int
    S: int
    q_block: int
    k_block: int
    batch: int
    """Sequences that a step works on."""
    heads: int
    """Key/value heads that a step works on."""
    dots: str
    """Dtype of the factors of every matrix product."""
    acc: str
    """Dtype of scores, softmax and sums."""
    marked: bool
    """Whether tokens carry ids or places known at run time: every tile is masked."""
    moved: bool
    """Whether they carry places, so that the mask hides no tile for sure."""

    @property
    def of_queries(self) -> float:
        """The part of the scale that queries take; scaling scores costs a pass over
        them, and rounds nothing where factors are narrower than scores."""
        return self.scale if self.dots == self.acc else 1.0

    @property
    def of_scores(self) -> float:
        """The rest of the scale."""
        return 1.0 if self.dots == self.acc else self.scale

    @property
    def ragged(self) -> bool:
        """Whether a last block reaches back over tokens of the block before it."""
        return bool(self.T % self.q_block or self.S % self.k_block)

    @property
    def rows(self) -> int:
        """Blocks of queries."""
        return -(-self.T // self.q_block)

    @property
    def columns(self) -> int:
        """Blocks of keys."""
        return -(-self.S // self.k_block)

    @property
    def schedule(self) -> Schedule:
        """The tiles to visit."""
        mask = FULL if self.moved else self.mask
        return mask_schedule(mask, self.T, self.S, self.q_block, self.k_block)


@lru_cache(maxsize=256)
def choose_blocks(mask: Mask, T: int, S: int) -> tuple[int, int]:
    """Queries and keys a tile for which visiting the mask's tiles costs least."""

    def cost(blocks: tuple[int, int]) -> int:
        q_block, k_block = min(blocks[0], T), min(blocks[1], S)
        tiles = mask_schedule(mask, T, S, q_block, k_block).kind.size
        return tiles * (q_block * k_block + LOAD * (q_block + k_block))

    q_block, k_block = min(product(BLOCKS, BLOCKS), key=cost)
    return min(q_block, T), min(k_block, S)


def choose_heads(B: int, K: int, scores: int) -> tuple[int, int]:
    """Sequences and key/value heads a step, for `scores` of each key/value head."""
    fits = max(1, SCORES_AT_ONCE // scores)
    heads = _largest_divisor(K, fits)
    return (_largest_divisor(B, fits // K) if heads == K else 1), heads


def _largest_divisor(n: int, most: int) -> int:
    return next(d for d in range(max(1, min(n, most)), 0, -1) if n % d == 0)


def product_dtype(dtype: Any) -> str:
    """In what dtype to multiply.

    A CPU without bfloat16 instructions multiplies such numbers slower than float32,
    which holds them exactly.
    """
    half = str(dtype) in ("bfloat16", "float16")
    slow = half and device_kind() == "cpu" and str(dtype) not in cpu_multiplies()
    return "float32" if slow else str(dtype)
