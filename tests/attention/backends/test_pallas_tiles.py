"""The list of tiles of our TPU kernel shows its mask, each tile once."""

import jax.numpy as jnp
import numpy as np
import pytest
from pallas_masks import MASKS, L

from attn.attention.backends.splash import foreign_operations
from attn.errors import UserError
from attn.kernels.pallas import pallas_attention
from attn.kernels.pallas.tile_list import (
    FIRST,
    KIND,
    LAST,
    PLACE,
    SHIFT,
    choose_blocks,
    tile_list,
    why_too_large,
)
from attn.masks import FULL, BigBird, Causal, Chunk, Tile, Window


def shown(mask, T, S, blocks, of_rows, tabled):
    """The map that a list of tiles shows, and how often each tile is visited."""
    tiles = tile_list(mask, T, S, blocks, of_rows, tabled)
    rows, columns = -(-T // blocks[0]), -(-S // blocks[1])
    seen = np.zeros((rows * blocks[0], columns * blocks[1]), bool)
    visits = np.zeros((rows, columns), int)
    for place, note in zip(tiles.places, tiles.notes, strict=True):
        row, column = (place >> PLACE, place % 2**PLACE)[:: 1 if of_rows else -1]
        q, k = (n * size + np.arange(size) for n, size in zip((row, column), blocks))
        kind = note & KIND
        visits[row, column] += kind != Tile.EMPTY
        tile = np.full(blocks, kind == Tile.FULL)
        if kind == Tile.PARTIAL and tabled:
            words = tiles.tables[note >> SHIFT].view(np.uint32)
            bits = words[:, None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1
            tile = bits.reshape(blocks[1], blocks[0]).T == 1
        elif kind == Tile.PARTIAL:
            inside = (q[:, None] < T) & (k[None] < S)
            tile = mask.predicate(q[:, None], k[None]) & inside
        seen[np.ix_(q, k)] |= tile
    assert not seen[T:].any()
    assert not seen[:, S:].any()
    return seen[:T, :S], visits


@pytest.mark.parametrize("of_rows", [True, False], ids=["rows", "columns"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_list_shows_its_mask_and_visits_no_tile_twice(mask, of_rows):
    tabled = bool(foreign_operations(mask))
    for blocks in ((128, 128), (256, 128)):
        seen, visits = shown(mask, L, L, blocks, of_rows, tabled)
        assert (seen == mask.dense(L)).all()
        assert visits.max() == 1


def test_a_table_shows_what_a_predicate_does():
    for tabled in (True, False):
        seen, _ = shown(Causal() & Chunk(70), L, 200, (128, 128), True, tabled)
        assert (seen == (Causal() & Chunk(70)).dense(L, 200)).all()


@pytest.mark.parametrize("of_rows", [True, False], ids=["rows", "columns"])
def test_every_line_is_begun_and_ended_once_also_an_empty_one(of_rows):
    tiles = tile_list(Causal(offset=-260), L, L, (128, 128), of_rows, False)
    lines = tiles.places >> PLACE
    assert (np.diff(lines) >= 0).all()
    for flag in (FIRST, LAST):
        assert lines[(tiles.notes & flag) != 0].tolist() == [0, 1, 2]


def test_equal_tiles_share_a_table():
    tables = tile_list(BigBird(4096), 4096, 4096, (128, 128), True, True).tables
    partial_tiles = (
        tile_list(BigBird(4096), 4096, 4096, (128, 128), True, False).notes & KIND
        == Tile.PARTIAL
    ).sum()
    assert len(tables) <= 2**4 < partial_tiles


def test_blocks_are_small_where_the_mask_is_scattered():
    assert choose_blocks(Causal(), 4096, 4096) == (512, 512)
    assert choose_blocks(Causal() & Window(63, 0), 4096, 4096) == (256, 256)


def test_a_list_beyond_the_limits_is_told():
    said = why_too_large(FULL, 2**18, 2**18, (512, 512), False)
    assert "visits 262,144 tiles of 262144 x 262144; it takes up to 65,536" in said
    said = why_too_large(~BigBird(2**16), 2**16, 2**16, (512, 512), True)
    assert "pairs in partly visible tiles" in said


def test_a_block_that_is_no_multiple_of_the_lanes_is_refused():
    q = jnp.zeros((1, 8, 1, 8))
    with pytest.raises(UserError, match=r"blocks = \(100, 128\); they must be"):
        pallas_attention(q, q, q, mask=FULL, blocks=(100, 128), interpret=True)
