"""Masks: every view of a pattern agrees with the predicate, element by element."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn.errors import UserError
from attn.masks import (
    FULL,
    And,
    Causal,
    Chunk,
    Full,
    Global,
    Mask,
    Not,
    Or,
    Prefix,
    Tile,
    Window,
    mask_schedule,
)

DEFINITIONS = {
    Full: lambda m, q, k: True,
    Causal: lambda m, q, k: k <= q + m.offset,
    Window: lambda m, q, k: q - m.left <= k <= q + m.right,
    Global: lambda m, q, k: min(q, k) < m.num_tokens,
    Prefix: lambda m, q, k: k < m.length,
    Chunk: lambda m, q, k: q // m.size == k // m.size,
    And: lambda m, q, k: sees(m.a, q, k) and sees(m.b, q, k),
    Or: lambda m, q, k: sees(m.a, q, k) or sees(m.b, q, k),
    Not: lambda m, q, k: not sees(m.a, q, k),
}
"""What each pattern means, for one query and one key."""

sizes = st.integers(1, 24)
small = st.integers(1, 9)
patterns = st.one_of(
    st.just(FULL),
    st.builds(Causal, st.integers(-9, 9)),
    st.builds(Window, st.integers(0, 9), st.integers(0, 9)),
    st.builds(Global, small),
    st.builds(Prefix, small),
    st.builds(Chunk, small),
)
masks = st.recursive(
    patterns,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=4,
)


def sees(mask: Mask, q: int, k: int) -> bool:
    return DEFINITIONS[type(mask)](mask, q, k)


def brute(mask: Mask, T: int, S: int) -> np.ndarray:
    return np.array([[sees(mask, q, k) for k in range(S)] for q in range(T)])


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(c) for c in kind.__subclasses__()))


def test_every_pattern_has_a_definition_here():
    assert set(DEFINITIONS) == subclasses(Mask) - {Mask}


@settings(max_examples=150, deadline=None)
@given(masks, sizes, sizes)
def test_dense_and_density_are_the_predicate_at_every_pair(mask, T, S):
    expected = brute(mask, T, S)
    dense = mask.dense(T, S)
    assert dense.shape == (T, S)
    np.testing.assert_array_equal(dense, expected)
    assert mask.density(T, S) == pytest.approx(expected.mean(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 20), st.integers(0, 20))
def test_predicate_answers_for_plain_integers_as_for_arrays(mask, q, k):
    assert bool(mask.predicate(q, k)) == sees(mask, q, k)


@settings(max_examples=200, deadline=None)
@given(masks, sizes, sizes, small, small)
def test_empty_and_full_verdicts_are_never_wrong(mask, T, S, q_block, k_block):
    dense = brute(mask, T, S)
    kinds = mask_schedule(mask, T, S, q_block, k_block).kinds
    assert kinds.shape == (-(-T // q_block), -(-S // k_block))
    for (i, j), kind in np.ndenumerate(kinds):
        part = dense[i * q_block :, j * k_block :][:q_block, :k_block]
        if kind == Tile.EMPTY:
            assert not part.any(), (mask, i, j)
        if kind == Tile.FULL:
            assert part.all(), (mask, i, j)


@settings(max_examples=100, deadline=None)
@given(patterns, st.integers(1, 30), st.integers(1, 30), small)
def test_verdict_of_a_single_pattern_is_exact(mask, T, S, block):
    dense = brute(mask, T, S)
    for (i, j), kind in np.ndenumerate(mask_schedule(mask, T, S, block, block).kinds):
        part = dense[i * block :, j * block :][:block, :block]
        exact = Tile.FULL if part.all() else Tile(int(part.any()))
        assert kind == exact, (mask, i, j)


@settings(max_examples=60, deadline=None)
@given(masks, sizes, sizes, small)
def test_rows_and_columns_list_the_same_tiles(mask, T, S, block):
    schedule = mask_schedule(mask, T, S, block, block)
    for kind in Tile:
        by_row, by_column = set(), set()
        for found, listed in ((by_row, schedule.rows), (by_column, schedule.columns)):
            pointers, indices = listed(kind)
            for i in range(len(pointers) - 1):
                found |= {(i, int(j)) for j in indices[pointers[i] : pointers[i + 1]]}
        expected = {(int(i), int(j)) for i, j in np.argwhere(schedule.kinds == kind)}
        assert by_row == expected
        assert {(i, j) for j, i in by_column} == expected


def test_density_counts_blocks_that_are_cut_short():
    T, S = 700, 1100
    mask = Causal() & (Window(255, 0) | Global(4))
    assert mask.density(T, S) == pytest.approx(mask.dense(T, S).mean(), abs=1e-12)


def test_tiles_of_long_texts_cost_no_look_at_the_elements():
    schedule = mask_schedule(Causal() & Window(1023, 0), 1 << 20, 1 << 20, 1024, 1024)
    assert np.bincount(schedule.kinds.ravel())[Tile.PARTIAL] == 2 * 1024 - 1


@settings(max_examples=60, deadline=None)
@given(masks)
def test_full_is_the_neutral_element_of_and(mask):
    assert FULL & mask == mask
    assert mask & FULL == mask
    assert mask & mask == mask
    assert mask | mask == mask
    assert (mask | FULL).dense(7, 5).all()
    assert not (~FULL & mask).dense(7, 5).any()
    assert not (mask & ~mask).dense(7, 5).any()


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_equal_masks_show_the_same_and_hash_the_same(a, b):
    again = eval(repr(a))
    assert again == a
    assert hash(again) == hash(a)
    if a == b:
        np.testing.assert_array_equal(a.dense(9, 7), b.dense(9, 7))


def test_knobs_tell_masks_apart():
    several = [Causal(), Causal(1), Window(1, 0), Window(0, 1), Chunk(2), Prefix(2)]
    several += [Global(2), FULL, ~Causal(), Causal() & Chunk(2), Causal() | Chunk(2)]
    assert len(set(several)) == len(several)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Window(-1, 0),
        lambda: Window(0, -1),
        lambda: Global(0),
        lambda: Prefix(0),
        lambda: Chunk(0),
    ],
)
def test_a_pattern_that_means_nothing_is_refused(make):
    with pytest.raises(UserError, match=r"at least [01]"):
        make()


def test_window_is_the_window_of_flash_attention():
    np.testing.assert_array_equal(
        Window(2, 1).dense(4).astype(int),
        [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1]],
    )
