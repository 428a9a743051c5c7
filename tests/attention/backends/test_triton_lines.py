"""The lines of tiles of our GPU kernel show their mask, each tile once."""

import numpy as np
import pytest
from pallas_masks import MASKS, L

from attn.attention.backends.splash import foreign_operations
from attn.kernels.triton import choose_blocks, why_too_large
from attn.kernels.triton.lines import LINE, MIDDLE, START, STOP, make_lines
from attn.masks import FULL, BigBird, Causal, Chunk, Strided, Window


def shown(mask, T, S, blocks, of_rows, tabled, all_masked=False):
    """The map that lines show, and how often each tile is visited."""
    found = make_lines(mask, T, S, blocks, of_rows, tabled, all_masked)
    sizes = blocks if of_rows else blocks[::-1]
    rows, columns = -(-T // sizes[0]), -(-S // sizes[1])
    seen = np.zeros((rows * sizes[0], columns * sizes[1]), bool)
    visits = np.zeros((rows, columns), int)
    for line in found.lines:
        for n in range(line[START], line[STOP]):
            place = (line[LINE], found.others[n])[:: 1 if of_rows else -1]
            q, k = (at * size + np.arange(size) for at, size in zip(place, sizes))
            tile = np.ones(sizes, bool)
            if n >= line[MIDDLE] and tabled:
                table = found.tables[found.own[n]] == 1
                tile = table if of_rows else table.T
            elif n >= line[MIDDLE]:
                tile = mask.predicate(q[:, None], k[None]) & (k[None] < S)
            seen[np.ix_(q, k)] |= tile
            visits[place] += 1
    assert not seen[:, S:].any()
    return seen[:T, :S], visits


@pytest.mark.parametrize("of_rows", [True, False], ids=["rows", "columns"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_lines_show_their_mask_and_visit_no_tile_twice(mask, of_rows):
    tabled = bool(foreign_operations(mask))
    for all_masked in (False, True):
        seen, visits = shown(mask, L, L, (64, 32), of_rows, tabled, all_masked)
        assert (seen == mask.dense(L)).all()
        assert visits.max() == 1


def test_a_table_shows_what_a_predicate_does():
    for tabled in (True, False):
        seen, _ = shown(Causal() & Chunk(70), L, 200, (64, 128), True, tabled)
        assert (seen == (Causal() & Chunk(70)).dense(L, 200)).all()


def test_every_line_is_there_the_longest_first_also_an_empty_one():
    lines = make_lines(Causal(offset=-260), L, L, (128, 64), True, False, False).lines
    assert lines[:, LINE].tolist() == [2, 0, 1]
    assert (lines[:, STOP] - lines[:, START]).tolist() == [1, 0, 0]


def test_equal_tiles_share_a_table():
    mask = BigBird(4096)
    found = make_lines(mask, 4096, 4096, (64, 64), True, True, False)
    assert len(found.tables) <= 2**4 < len(found.others)


def test_blocks_are_no_longer_than_the_sequences():
    for blocks in choose_blocks(40, 20, 64, 2, "NVIDIA H200"):
        assert (blocks.line, blocks.other) == (64, 64)
    assert choose_blocks(3, 9, 128, 4, "NVIDIA H200").forward.line == 16


def test_blocks_are_smaller_where_there_is_less_shared_memory():
    large, small = (
        choose_blocks(4096, 4096, 128, 4, f"NVIDIA {name}") for name in ("B200", "L40S")
    )
    assert large.queries.line > small.queries.line
    assert small == choose_blocks(4096, 4096, 128, 4, "NVIDIA RTX 5090")


def test_lists_beyond_the_limits_are_told():
    said = why_too_large(FULL, 2**16, 2**14, (16, 16), False)
    assert said is None
    said = why_too_large(~Window(7, 7), 2**16, 2**14 + 1, (16, 16), False)
    assert "visits 4,198,400 tiles of 65536 x 16385; it takes up to 4,194,304" in said
    said = why_too_large(FULL, 2**24, 2**24, (64, 64), False)
    assert "visits over 68,719,476,736 tiles" in said
    said = why_too_large(Strided(7), 2**14, 2**14, (64, 64), True)
    assert "pairs in partly visible tiles" in said
