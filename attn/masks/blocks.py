"""Block-sparse patterns: arbitrary layouts, and BigBird's."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attn.errors import UserError
from attn.masks.base import Mask
from attn.masks.fields import whole
from attn.masks.intervals import MOST, Runs, covered, packed
from attn.masks.pattern import Index, verdict
from attn.masks.range_counting import SummedArea, WaveletMatrix


def lookup(table: np.ndarray, *at: Index):
    """Reads `table[at]`; indices that are JAX arrays are clipped to the table."""
    if all(isinstance(index, (int, np.generic, np.ndarray)) for index in at):
        return table[at]
    import jax.numpy as jnp

    return jnp.asarray(table).at[at].get(mode="clip")


class BlockSparse(Mask):
    """A pattern of whole blocks of `block` × `block` pairs: each is seen or hidden."""

    block: int

    @property
    def cells(self) -> SummedArea | WaveletMatrix:
        """The visible pairs of blocks, as a structure that counts them."""
        raise NotImplementedError

    def tile(self, q0, q1, k0, k1):
        i0, i1 = q0 // self.block, (q1 - 1) // self.block + 1
        j0, j1 = k0 // self.block, (k1 - 1) // self.block + 1
        return verdict(self.cells.count(i0, i1, j0, j1), (i1 - i0) * (j1 - j0))


@dataclass(frozen=True, eq=False, repr=False)
class Blocks(BlockSparse):
    """A query sees the blocks of `block` keys that `layout` sets for its own block.

    `layout` is bool [M, N], one row a block of queries, one column a block of keys.
    Made for T in (M - 1) block + 1 .. M block and S likewise: the last blocks need
    not be whole. `block=1` is any dense mask, in O(T S) memory. Two are equal if they
    hold the same.

    Raises:
        UserError: the layout is not a matrix, or `block` is below 1.
    """

    layout: np.ndarray
    block: int

    def __post_init__(self):
        whole(self, {"block": 1})
        layout = np.array(self.layout, dtype=bool)
        if layout.ndim != 2 or layout.size == 0:
            raise UserError(
                f"Blocks(layout of shape {layout.shape}): it must be [query blocks, key blocks]"
            )
        layout.setflags(write=False)
        object.__setattr__(self, "layout", layout)

    @cached_property
    def _identity(self) -> tuple:
        return self.block, self.layout.shape, np.packbits(self.layout).tobytes()

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    @cached_property
    def cells(self) -> SummedArea:
        return SummedArea(self.layout)

    def __eq__(self, other):
        return isinstance(other, Blocks) and self._identity == other._identity

    def __hash__(self):
        return self._hash

    def __repr__(self):
        M, N = self.layout.shape
        return f"Blocks(<{M} x {N}, {self.layout.sum()} marked>, {self.block})"

    def predicate(self, q, k):
        return lookup(self.layout, q // self.block, k // self.block)

    def runs(self, q, S):
        steps = np.diff(self.layout.astype(np.int8), axis=1, prepend=0, append=0)
        (row, start), (_, end) = np.nonzero(steps > 0), np.nonzero(steps < 0)
        if np.bincount(row, minlength=1).max() > MOST:
            return None
        starts, ends = packed(row, start, end, len(self.layout))
        own = q // self.block
        return (starts[own] * self.block).clip(0, S), (ends[own] * self.block).clip(
            0, S
        )

    def check(self, T, S):
        M, N = self.layout.shape
        if (-(-T // self.block), -(-S // self.block)) != (M, N):
            raise UserError(
                f"Blocks(block={self.block}) was made for {M * self.block} x {N * self.block}, "
                f"used with {T} x {S}"
            )


@dataclass(frozen=True, repr=False)
class BigBird(BlockSparse):
    """Blocks of `block` tokens: a window, the first ones, and some at random.

    Zaheer et al. 2020, section 2 and appendix D: each block of queries sees the
    `num_window` blocks around it, the first `num_global` (which also see everything),
    and `num_random` drawn without repetition from the others. A function of its fields
    alone: the same on every machine, the random blocks from `seed` by PCG64. Made for T
    = S = `length`; the last block need not be whole.

    Raises:
        UserError: a field is out of range, or `num_window` is even.
    """

    length: int
    block: int = 64
    num_window: int = 3
    num_global: int = 2
    num_random: int = 3
    seed: int = 0

    def __post_init__(self):
        whole(self, {"length": 1, "block": 1, "num_window": 1})
        whole(self, {"num_global": 0, "num_random": 0, "seed": 0})
        if self.num_window % 2 == 0:
            raise UserError(
                f"BigBird(num_window={self.num_window}): it must be odd, "
                "as many blocks before as after"
            )

    @property
    def num_blocks(self) -> int:
        """The number of blocks, the last of which need not be whole."""
        return -(-self.length // self.block)

    @cached_property
    def picks(self) -> np.ndarray:
        """The random blocks of each block, int32 [M, num_random]; -1 beyond them."""
        M, half = self.num_blocks, self.num_window // 2
        rows = np.arange(M)
        low = np.maximum(rows - half, self.num_global).clip(max=M)
        high = np.maximum(rows + half + 1, self.num_global).clip(max=M)
        others = np.maximum(M - self.num_global, 0) - (high - low)
        drawn = draw(others, self.num_random, self.seed)
        block = drawn + self.num_global
        block = np.where(block >= low[:, None], block + (high - low)[:, None], block)
        return np.where(drawn < 0, -1, block).astype(np.int32)

    @cached_property
    def cells(self) -> WaveletMatrix:
        M, half = self.num_blocks, self.num_window // 2
        near = np.arange(M)[:, None] + np.arange(-half, half + 1)
        first = np.broadcast_to(np.arange(self.num_global), (M, self.num_global))
        seen = np.hstack([near, first, self.picks])
        row = np.repeat(np.arange(M), seen.shape[1])
        every = np.arange(min(self.num_global, M))
        row = np.concatenate([row, np.repeat(every, M)])
        column = np.concatenate([seen.ravel(), np.tile(np.arange(M), len(every))])
        inside = (column >= 0) & (column < M)
        cells = np.unique(row[inside] * M + column[inside])
        return WaveletMatrix(cells // M, cells % M, M, M)

    def predicate(self, q, k):
        i, j = q // self.block, k // self.block
        seen = (abs(i - j) <= self.num_window // 2) | (i < self.num_global)
        seen = seen | (j < self.num_global)
        for n in range(self.num_random):
            seen = seen | (lookup(self.picks[:, n], i) == j)
        return seen

    def runs(self, q, S) -> Runs | None:
        if self.num_random + 2 > MOST:
            return None
        i = q[:, None] // self.block
        picks, half = self.picks[i[:, 0]], self.num_window // 2
        none = np.where(picks < 0, 0, 1)
        every = np.where(i < self.num_global, self.num_blocks, self.num_global)
        starts = np.hstack([np.zeros_like(i), i - half, picks * none])
        ends = np.hstack([every, i + half + 1, (picks + 1) * none])
        return covered((starts * self.block).clip(0, S), (ends * self.block).clip(0, S))

    def check(self, T, S):
        if {T, S} != {self.length}:
            raise UserError(
                f"BigBird was made for {self.length} x {self.length}, used with {T} x {S}"
            )


def draw(counts: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draws `size` distinct integers below each count: int64 [n, size], -1 beyond.

    Floyd's algorithm (Bentley 1987) on the raw bits of PCG64, which NumPy promises to
    keep; that of `Generator` it may change.
    """
    raw = (
        np.random.PCG64(seed).random_raw(len(counts) * size).reshape(len(counts), size)
    )
    drawn = np.full((len(counts), size), -1, np.int64)
    for n in range(size):
        top = counts - size + n
        value = (raw[:, n] % np.maximum(top + 1, 1).astype(np.uint64)).astype(np.int64)
        taken = (drawn == value[:, None]).any(axis=1)
        drawn[:, n] = np.where(top < 0, -1, np.where(taken, top, value))
    return drawn
