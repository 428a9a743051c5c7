"""The schedule: every tile that is not empty, once, in memory for those alone."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from mask_definitions import brute, brute_grid, cases, patterns, small

from attn.errors import UserError
from attn.masks import (
    FULL,
    BigBird,
    Causal,
    Global,
    Tile,
    Window,
    mask_schedule,
)

MILLION = 1 << 20


def grid_of(schedule) -> np.ndarray:
    """The schedule as a dense grid; it lists each tile once, by row, then column."""
    cells = schedule.row.astype(int) * schedule.num_columns + schedule.column
    assert (np.diff(cells) > 0).all()
    grid = np.zeros((schedule.num_rows, schedule.num_columns), np.int8)
    grid[schedule.row, schedule.column] = schedule.kind
    return grid


@settings(max_examples=120, deadline=None)
@given(cases(make=patterns), small, small)
def test_the_schedule_of_a_pattern_is_exact(case, q_block, k_block):
    mask, T, S = case
    found = grid_of(mask_schedule(mask, T, S, q_block, k_block, ragged=False))
    np.testing.assert_array_equal(
        found, brute_grid(brute(mask, T, S), q_block, k_block)
    )


@settings(max_examples=120, deadline=None)
@given(cases(most=24), small, small)
def test_the_schedule_of_a_composition_is_the_verdict_on_every_tile(
    case, q_block, k_block
):
    mask, T, S = case
    found = grid_of(mask_schedule(mask, T, S, q_block, k_block, ragged=False))
    q0, k0 = np.arange(0, T, q_block)[:, None], np.arange(0, S, k_block)[None]
    flat = mask.tile(q0, np.minimum(q0 + q_block, T), k0, np.minimum(k0 + k_block, S))
    np.testing.assert_array_equal(found, np.broadcast_to(flat, found.shape))
    exact = brute_grid(brute(mask, T, S), q_block, k_block)
    certain = found != Tile.PARTIAL
    np.testing.assert_array_equal(found[certain], exact[certain])


@settings(max_examples=60, deadline=None)
@given(cases(), small, small)
def test_a_block_that_is_not_whole_counts_as_partial_where_it_is_padded(
    case, q_block, k_block
):
    mask, T, S = case
    exact = grid_of(mask_schedule(mask, T, S, q_block, k_block, ragged=False))
    padded = grid_of(mask_schedule(mask, T, S, q_block, k_block))
    for (i, j), kind in np.ndenumerate(exact):
        padding = (i + 1) * q_block > T or (j + 1) * k_block > S
        assert padded[i, j] == (min(kind, Tile.PARTIAL) if padding else kind)


def test_empty_tiles_are_not_kept():
    assert mask_schedule(~FULL, 8, 8, 2, 2).row.size == 0


def test_a_schedule_is_made_once():
    once = mask_schedule(Causal() & Window(5, 0), 64, 64, 8, 8)
    assert mask_schedule(Causal() & Window(5, 0), 64, 64, 8, 8) is once
    with pytest.raises(ValueError, match="read-only"):
        once.kind[0] = 0


def test_sizes_that_mean_nothing_are_refused():
    for T, S, q_block, k_block in (
        (0, 8, 2, 2),
        (8, 0, 2, 2),
        (8, 8, 0, 2),
        (8, 8, 2, 0),
    ):
        with pytest.raises(UserError, match="each must be at least 1"):
            mask_schedule(Causal(), T, S, q_block, k_block)


LONG = [
    (Causal() & Window(4096, 0), 9 * 2048 - 36, 2 * 2048 - 8),
    (Causal() & (Window(255, 0) | Global(4)), 3 * 2048 - 3, 3 * 2048 - 3),
]


@pytest.mark.parametrize("mask, kept, partial", LONG, ids=str)
def test_a_million_tokens_keep_the_tiles_of_the_band(mask, kept, partial):
    schedule = mask_schedule(mask, MILLION, MILLION, 512, 512)
    assert schedule.row.size == kept
    assert (schedule.kind == Tile.PARTIAL).sum() == partial


@pytest.mark.parametrize(
    "mask",
    [Causal() & Window(4096, 0), Global(4), BigBird(MILLION), Causal(1)],
    ids=str,
)
def test_memory_is_in_proportion_to_the_tiles_kept(mask):
    block = 2048 if mask == Causal(1) else 512
    mask.tile(0, MILLION, 0, MILLION)  # what the mask keeps for itself is its own
    mask_schedule.cache_clear()
    tracemalloc.start()
    schedule = mask_schedule(mask, MILLION, MILLION, block, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 600 * schedule.row.size + 100_000


class Counted(Causal):
    """Causal, which counts the verdicts that it is asked for."""

    asked = 0

    def tile(self, q0, q1, k0, k1):
        Counted.asked += np.size(q0)
        return super().tile(q0, q1, k0, k1)


def test_a_schedule_asks_for_few_more_verdicts_than_it_keeps_partial_tiles():
    mask_schedule.cache_clear()
    Counted.asked = 0
    schedule = mask_schedule(Counted(), MILLION, MILLION, 2048, 2048)
    partial = (schedule.kind == Tile.PARTIAL).sum()
    assert partial == 512
    assert Counted.asked <= 5 * partial
