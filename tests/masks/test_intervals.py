"""Counts, key intervals and bands: each is what the dense map says."""

import numpy as np
import pytest
from hypothesis import given, settings
from mask_definitions import EXAMPLES, brute, cases

from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Fixed,
    Global,
    Prefix,
    Strided,
    Window,
)
from attn.masks.intervals import complement, covered

MILLION = 1 << 20


@settings(max_examples=120, deadline=None)
@given(cases())
def test_count_and_density_are_those_of_the_dense_map(case):
    mask, T, S = case
    expected = brute(mask, T, S)
    assert mask.count(T, S) == expected.sum()
    assert mask.density(T, S) == pytest.approx(expected.mean(), abs=1e-12)


@pytest.mark.parametrize(
    "mask",
    [
        Causal() & (Window(255, 0) | Global(4)),
        Causal() & Fixed(16, 3),
        Fixed(16, 3) | Strided(50),
        ~(Strided(7) & Chunk(100)),
        FULL,
    ],
    ids=repr,
)
def test_count_is_exact_where_no_block_divides_the_lengths(mask):
    assert mask.count(700, 1100) == mask.dense(700, 1100).sum()


def test_a_row_of_too_many_intervals_is_counted_by_tiles():
    layout = np.random.default_rng(0).random((130, 130)) < 0.5
    mask = Blocks(layout, 2)
    assert mask.runs(np.arange(1), 260) is None
    assert (mask & Chunk(64)).count(260) == (mask & Chunk(64)).dense(260).sum()
    many = BigBird(260, 2, num_random=40)
    assert many.count(260) == many.dense(260).sum()


@pytest.mark.parametrize(
    "mask, T, S, pairs",
    [
        (Causal(), MILLION, MILLION, MILLION * (MILLION + 1) // 2),
        (Causal() & Window(9, 0), MILLION, MILLION, 10 * MILLION - 45),
        (Causal() & (Window(9, 0) | Global(2)), MILLION, MILLION, 12 * MILLION - 66),
        (Strided(1024), MILLION, MILLION, MILLION * 1024),
        (Chunk(64), MILLION, 2 * MILLION, 64 * MILLION),
        (~Prefix(10), MILLION, 100, 90 * MILLION),
    ],
    ids=str,
)
def test_a_million_tokens_are_counted_without_a_look_at_each_pair(mask, T, S, pairs):
    assert mask.count(T, S) == pairs


def intervals_of(seen: np.ndarray) -> list[list[tuple[int, int]]]:
    rows = []
    for row in seen.tolist():
        edges = [k for k in range(len(row) + 1) if ([0, *row, 0])[k] != ([*row, 0])[k]]
        rows.append(list(zip(edges[::2], edges[1::2])))
    return rows


@settings(max_examples=200, deadline=None)
@given(cases(most=15))
def test_row_interval_is_found_wherever_each_query_sees_one(case):
    mask, T, S = case
    expected = intervals_of(brute(mask, T, S))
    found = mask.row_interval(T, S)
    if any(len(row) > 1 for row in expected):
        assert found is None
        return
    start, end = found
    for t, row in enumerate(expected):
        assert 0 <= start[t] <= end[t] <= S
        assert row == ([(start[t], end[t])] if start[t] < end[t] else [])


@pytest.mark.parametrize(
    "mask, single",
    [
        (Causal() & Chunk(5), True),
        (Causal() | Prefix(4), True),
        (Window(2, 0) | Window(0, 3), True),
        (Window(2, 0) | Chunk(1), True),
        (~Causal(), True),
        (~Prefix(3), True),
        (~~Window(2, 2), True),
        (~Window(2, 2), False),
        (Causal() & (Window(2, 0) | Global(1)), False),
        (Dilated(2, 0, 1), True),
        (Dilated(2, 0, 2), False),
        (Strided(5), False),
        (Strided(1), True),
        (Fixed(4, 1) & Chunk(4), True),
    ],
    ids=str,
)
def test_intervals_stay_single_where_the_algebra_keeps_them_so(mask, single):
    assert (mask.row_interval(12, 12) is not None) == single


def is_band(seen: np.ndarray, left: int | None, right: int | None) -> bool:
    T, S = seen.shape
    return all(
        seen[t, s]
        == ((left is None or t - left <= s) and (right is None or s <= t + right))
        for t in range(T)
        for s in range(S)
    )


@settings(max_examples=150, deadline=None)
@given(cases(most=6))
def test_band_is_found_exactly_where_there_is_one(case):
    mask, T, S = case
    seen, found = brute(mask, T, S), mask.band(T, S)
    if found is None:
        bounds = [None, *range(-T - S, T + S + 1)]
        assert not any(is_band(seen, a, b) for a in bounds for b in bounds)
        return
    left, right = found
    assert is_band(seen, left, right)
    assert left is None or not is_band(seen, None, right)
    assert right is None or not is_band(seen, left, None)


@pytest.mark.parametrize(
    "mask, T, S, band",
    [
        (FULL, 9, 7, (None, None)),
        (Causal(), 9, 9, (None, 0)),
        (Causal(4), 5, 9, (None, 4)),
        (Causal(-1), 9, 9, (None, -1)),
        (~Causal(), 9, 9, (-1, None)),
        (Window(3, 1), 9, 9, (3, 1)),
        (Causal() & Window(3, 1), 9, 9, (3, 0)),
        (Causal() & Window(99, 99), 9, 9, (None, 0)),
        (Window(2, 0) | Window(0, 3), 9, 9, (2, 3)),
        (Chunk(9), 9, 9, (None, None)),
        (Chunk(3), 9, 9, None),
        (Prefix(3), 9, 9, None),
        (Strided(3), 9, 9, None),
        (Strided(20), 9, 9, (0, 0)),
        (~FULL, 4, 9, (None, -4)),
        (Causal() & Window(4096, 0), MILLION, MILLION, (4096, 0)),
    ],
    ids=str,
)
def test_band_tells_the_window_whatever_the_mask_is_made_of(mask, T, S, band):
    assert mask.band(T, S) == band


def test_intervals_that_touch_become_one():
    start, end = covered(np.array([[0, 3, 9]]), np.array([[3, 5, 9]]))
    assert (start.tolist(), end.tolist()) == ([[0]], [[5]])
    start, end = complement((start, end), 8)
    assert (start.tolist(), end.tolist()) == ([[5]], [[8]])


def test_every_example_has_the_count_of_its_runs():
    for mask in EXAMPLES:
        start, end = mask.runs(np.arange(12), 12)
        assert ((start >= 0) & (start <= end) & (end <= 12)).all()
        assert (end - start).sum(axis=1).tolist() == brute(mask, 12, 12).sum(
            axis=1
        ).tolist()
