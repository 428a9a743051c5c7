"""The static plan of a call, and the arrays that its kernels read."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from attn.device import generation
from attn.kernels.triton.lines import Lines, make_lines
from attn.masks import FULL, Mask


@dataclass(frozen=True)
class Blocks:
    """The sizes of a kernel's tiles, and how Triton compiles it."""

    line: int
    """Tokens in a program's own block: queries forward, and for their gradients; else keys."""
    other: int
    """Tokens in the blocks that it visits."""
    warps: int
    stages: int
    """Tiles that are loaded at once."""


class Kernels(NamedTuple):
    """The blocks of each kernel."""

    forward: Blocks
    queries: Blocks
    """Those of the queries' gradient."""
    keys: Blocks
    """Those of the keys' and the values' gradients."""


@dataclass(frozen=True)
class Plan:
    """A static plan; hashable, so that one trace serves all calls of its shapes."""

    mask: Mask
    scale: float
    softcap: float | None
    T: int
    S: int
    """The lengths before they are padded to whole blocks."""
    blocks: Kernels
    has_ids: bool
    """Whether tokens have segments or padding, so that every tile is masked."""
    has_positions: bool
    """Whether the mask is asked about positions known at run time, so that it rules
    out no tile in advance, and every tile is masked."""
    tabled: bool
    """Whether the predicate cannot run inside the kernel, which then reads its pairs."""
    interpret: bool

    def lines(self, blocks: Blocks, of_rows: bool) -> Lines:
        """The lines of tiles: rows (blocks of queries) or columns (blocks of keys)."""
        mask = FULL if self.has_positions else self.mask
        masked = self.has_ids or self.has_positions
        sizes = blocks.line, blocks.other
        return make_lines(mask, self.T, self.S, sizes, of_rows, self.tabled, masked)

    @property
    def padded(self) -> tuple[int, int]:
        """The lengths of queries and keys in whole blocks, of either direction."""
        block = max(max(one.line, one.other) for one in self.blocks)
        return -(-self.T // block) * block, -(-self.S // block) * block


class Inputs(NamedTuple):
    """The arrays of a call, padded to whole blocks; None for what it lacks."""

    q: Any
    """[B, T, N, H]."""
    k: Any
    """[B, S, K, H]."""
    v: Any
    """[B, S, K, V]."""
    sinks: Any
    """[N], float32."""
    q_ids: Any
    """[B, T], as the positions; of keys [B, S]."""
    kv_ids: Any
    q_positions: Any
    kv_positions: Any


FASTEST = {
    (2, 64): ((64, 64, 4, 3), (64, 64, 4, 2), (64, 64, 4, 3)),
    (2, 128): ((128, 64, 4, 2), (64, 64, 4, 2), (64, 64, 4, 2)),
    (2, 256): ((64, 32, 4, 2), (64, 32, 4, 2), (64, 32, 4, 2)),
    (4, 64): ((128, 64, 4, 2), (128, 64, 4, 2), (128, 64, 8, 2)),
    (4, 128): ((32, 64, 4, 2), (64, 64, 4, 2), (32, 32, 4, 2)),
    (4, 256): ((32, 32, 4, 1), (32, 32, 4, 1), (32, 32, 4, 1)),
}
"""Bytes a number, and channels up to which a row holds; the fields of `Blocks` of each
kernel. The fastest of 72 on an H200, causal, 4,096 tokens, that leave room for every option;
those of 256 channels are not measured."""
SMALLEST = {
    **FASTEST,
    (2, 256): ((32, 32, 4, 2),) * 3,
    (4, 64): ((64, 32, 4, 2),) * 3,
    (4, 128): ((32, 32, 4, 2),) * 3,
    (4, 256): ((16, 16, 4, 1),) * 3,
}
"""The same for GPUs of 99 KiB of shared memory a block, where data centres' have 227; compiled
for them, and not measured."""
ROOMY = (9.0, 10.0)
"""The compute capabilities, rounded down, for which `FASTEST` is."""


def choose_blocks(T: int, S: int, channels: int, itemsize: int, device: str) -> Kernels:
    """Chooses the blocks of each kernel.

    Args:
        channels: the larger head dim.
        itemsize: bytes a number.
        device: jax's `device_kind`.
    """
    table = FASTEST if math.floor(generation(device) or 0) in ROOMY else SMALLEST
    chosen = next(
        row
        for (size, most), row in table.items()
        if size == itemsize and channels <= most
    )
    whole = max(16, 1 << (max(T, S) - 1).bit_length())
    return Kernels(
        *(
            Blocks(min(line, whole), min(other, whole), warps, stages)
            for line, other, warps, stages in chosen
        )
    )
