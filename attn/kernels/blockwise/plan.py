"""What a blockwise call knows before any array."""

from dataclasses import dataclass
from typing import Any

from attn.device import cpu_multiplies, device_kind
from attn.kernels.blockwise.walks import Cut, Walk, choose_cut, make_walk
from attn.masks import FULL, Mask

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
    forward: Cut
    """Rows of tiles."""
    backward: Cut
    """Columns of tiles."""
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
    def rows(self) -> Walk:
        """The tiles of the forward pass."""
        return self._walk(self.forward, of_rows=True)

    @property
    def columns(self) -> Walk:
        """The tiles of the backward pass."""
        return self._walk(self.backward, of_rows=False)

    def _walk(self, cut: Cut, of_rows: bool) -> Walk:
        mask = FULL if self.moved else self.mask
        walk = make_walk(mask, self.T, self.S, cut, of_rows)
        assert walk is not None, "cuts are chosen where they exist"
        return walk


def choose_heads(B: int, K: int, scores: int) -> tuple[int, int]:
    """Sequences and key/value heads a step, for `scores` of each key/value head."""
    fits = max(1, SCORES_AT_ONCE // scores)
    heads = _largest_divisor(K, fits)
    return (_largest_divisor(B, fits // K) if heads == K else 1), heads


def step_numbers(mask: Mask, T: int, S: int, H: int, Hv: int) -> int:
    """Numbers that a forward step of one head holds: its tile, whatever T and S are.

    Scores and weights, then the queries, their sums and what the tile adds to them,
    then keys and values.
    """
    line, tile, _ = choose_cut(mask, T, S, of_rows=True)
    return 2 * line * tile + line * (H + 2 * Hv) + tile * (H + Hv)


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
