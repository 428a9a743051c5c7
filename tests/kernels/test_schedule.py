"""The schedule of a mask's tiles: small, fitted to the mask, and over each pair once."""

import jax
import numpy as np
import pytest
from meshes import make

from attn.attention import attend
from attn.kernels import Softmax
from attn.kernels.blockwise.schedule import (
    BlockSizes,
    choose_block_sizes,
    fit,
    tile_schedule,
)
from attn.masks import (
    FULL,
    Causal,
    Chunk,
    Prefix,
    Window,
)


def scratch(T, mask=Causal(), dtype="float32"):
    """Bytes beyond inputs, outputs and gradients of a compiled forward and backward."""
    x = jax.ShapeDtypeStruct((1, T, 8, 64), dtype)

    def both(q, k, v, cotangent):
        out, pull = jax.vjp(lambda *a: attend(Softmax(), *a, mask=mask), q, k, v)
        return out, pull(cotangent)

    # One device: over several, a step takes all heads.
    mesh = make((1, 1))
    with jax.set_mesh(mesh):
        compiled = jax.jit(both).lower(x, x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_scratch_memory_is_small_and_grows_no_faster_than_the_sequence():
    short, long = scratch(16_384), scratch(65_536)
    assert long < 64e6
    assert long / short <= 4.5


def test_narrow_masks_get_tiles_that_fit_them():
    wide, narrow = BlockSizes(512, 512), Causal() & Window(255, 0)
    assert choose_block_sizes(FULL, 16_384, 16_384, True) == wide
    assert choose_block_sizes(Causal(), 16_384, 16_384, False) == wide
    for of_rows in (True, False):
        sizes = choose_block_sizes(narrow, 16_384, 16_384, of_rows)
        shown = narrow.density(16_384) * 16_384**2
        fitted, plain = (
            c.line * c.tile * tile_schedule(narrow, 16_384, 16_384, c, of_rows).tiles
            for c in (sizes, wide)
        )
        assert fitted < 2.1 * shown
        assert plain > 1.5 * fitted
    assert choose_block_sizes(FULL, 100, 60, True) == (100, 60, True)
    assert choose_block_sizes(FULL, 784, 2000, True) == (392, 504, True)


@pytest.mark.parametrize("of_rows", [True, False])
@pytest.mark.parametrize(
    "mask",
    [Causal(), Window(7, 2), Causal(-9) & Window(30, 0), Chunk(10), Prefix(5), ~FULL],
    ids=str,
)
def test_tiles_off_the_grid_hold_all_that_is_seen_and_nothing_twice(mask, of_rows):
    T, S = 53, 41
    width, length = (T, S) if of_rows else (S, T)
    schedule = tile_schedule(
        mask, T, S, fit(BlockSizes(8, 11, on_grid=False), width, length), of_rows
    )
    visits = np.zeros((width, length), int)
    for pointers, first in zip(schedule.pointers.values(), schedule.first.values()):
        for line in range(schedule.lines):
            for start in first[pointers[line] : pointers[line + 1]]:
                visits[line * 8 : line * 8 + 8, start : start + 11] += 1
    seen = mask.dense(T, S) if of_rows else mask.dense(T, S).T
    assert visits.max() <= 1
    assert (visits[seen] == 1).all()
