"""The static plan of a blockwise call: all that is known before any array."""

from dataclasses import dataclass
from typing import Any

from attn.device import cpu_multiplies, device_kind
from attn.kernels.blockwise.schedule import BlockSizes, TileSchedule, tile_schedule
from attn.masks import FULL, Mask

SCORES_AT_ONCE = 2**20
"""Scores that a step holds, over all its heads: 4 MB in float32."""


@dataclass(frozen=True)
class Plan:
    """A static plan; hashable, so that one trace serves all calls of its shapes."""

    mask: Mask
    scale: float
    softcap: float | None
    T: int
    S: int
    forward: BlockSizes
    """Block sizes of the forward pass, over rows of tiles."""
    backward: BlockSizes
    """Block sizes of the backward pass, over columns of tiles."""
    batch: int
    """Sequences a step."""
    heads: int
    """Key/value heads a step."""
    operand_dtype: str
    """The dtype of the operands of every matrix product."""
    accumulator_dtype: str
    """The dtype of scores, softmax and sums."""
    has_positions: bool
    """Whether tokens have positions, so that the mask rules out no tile in advance."""

    @property
    def of_queries(self) -> float:
        """The part of the scale that queries are multiplied by.

        Scaling the scores instead costs a pass over them, but rounds nothing where
        operands are narrower than accumulators.
        """
        return self.scale if self.operand_dtype == self.accumulator_dtype else 1.0

    @property
    def of_scores(self) -> float:
        """The rest of the scale, which scores are multiplied by."""
        return 1.0 if self.operand_dtype == self.accumulator_dtype else self.scale

    @property
    def rows(self) -> TileSchedule:
        """The tile schedule of the forward pass."""
        return self._schedule(self.forward, of_rows=True)

    @property
    def columns(self) -> TileSchedule:
        """The tile schedule of the backward pass."""
        return self._schedule(self.backward, of_rows=False)

    def _schedule(self, sizes: BlockSizes, of_rows: bool) -> TileSchedule:
        mask = FULL if self.has_positions else self.mask
        schedule = tile_schedule(mask, self.T, self.S, sizes, of_rows)
        assert schedule is not None, "sizes are chosen where a schedule exists"
        return schedule


def choose_heads(B: int, K: int, scores: int) -> tuple[int, int]:
    """The number of sequences and key/value heads a step, by `scores` of one head."""
    fits = max(1, SCORES_AT_ONCE // scores)
    heads = _largest_divisor(K, fits)
    return (_largest_divisor(B, fits // K) if heads == K else 1), heads


def _largest_divisor(n: int, most: int) -> int:
    return next(d for d in range(max(1, min(n, most)), 0, -1) if n % d == 0)


def product_dtype(dtype: Any) -> str:
    """The operand dtype in which arrays of `dtype` are multiplied.

    A CPU without bfloat16 instructions multiplies such numbers slower than float32,
    which holds them exactly.
    """
    half = str(dtype) in ("bfloat16", "float16")
    slow = half and device_kind() == "cpu" and str(dtype) not in cpu_multiplies()
    return "float32" if slow else str(dtype)
