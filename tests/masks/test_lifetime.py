"""How long a key is kept in decoding, and which slot of a cache it takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_definitions import brute, compositions

from attn.masks import (
    BigBird,
    Causal,
    Chunk,
    Fixed,
    Global,
    PerHead,
    Prefix,
    Strided,
    Window,
)
from attn.masks.lifetime import last_query, num_slots, slots


@st.composite
def squares(draw):
    """A mask with the one length that it is used on, its map, and the last queries."""
    L = draw(st.integers(1, 20))
    mask = draw(compositions(L, L))
    seen = brute(mask, L, L)
    last = [max((t for t in range(s, L) if seen[t, s]), default=-1) for s in range(L)]
    return mask, L, last


@settings(max_examples=100, deadline=None)
@given(squares())
def test_keys_that_are_alive_at_once_have_a_slot_each_and_there_are_no_more(case):
    mask, L, last = case
    assert last_query(mask, L).tolist() == last
    ends = np.maximum(last, np.arange(L))
    alive = [[s for s in range(t + 1) if ends[s] >= t] for t in range(L)]
    table = slots(mask, L)
    for keys in alive:
        assert len(set(table[keys])) == len(keys)
    assert num_slots(mask, L) == max(map(len, alive))
    assert set(table) == set(range(num_slots(mask, L)))


L = 40


@pytest.mark.parametrize(
    "mask, table",
    [
        (Causal(), range(L)),
        (Causal() & Window(6, 0), [t % 7 for t in range(L)]),
        (Causal() & Chunk(8), [t % 8 for t in range(L)]),
        # The first keys, and a ring beside them.
        (
            Causal() & (Window(4, 0) | Prefix(3)),
            [0, 1, 2, *(3 + t % 5 for t in range(L - 3))],
        ),
        (
            Causal() & (Window(4, 0) | Global(1)),
            [0, *(1 + t % 5 for t in range(L - 1))],
        ),
    ],
    ids=str,
)
def test_a_cache_is_a_ring_a_chunk_or_all_there_is(mask, table):
    assert slots(mask, L).tolist() == list(table)


@pytest.mark.parametrize(
    "mask, count",
    [
        (Causal() & Strided(8), L - 7),
        (Causal() & Fixed(8, 2), 8 + 4 * 2),
        (PerHead((Causal() & Window(6, 0), Causal() & Window(2, 0))), 7),
        (PerHead((Causal() & Window(6, 0), Causal())), L),
    ],
    ids=str,
)
def test_a_cache_has_as_many_slots_as_its_mask_needs(mask, count):
    assert num_slots(mask, L) == count


def test_a_random_pattern_keeps_what_it_will_draw_and_no_more():
    mask = Causal() & BigBird(64, 2, 1, 1, 1)
    seen = mask.dense(64)
    alive = [seen[t:, : t + 1].any(axis=0).sum() for t in range(64)]
    assert num_slots(mask, 64) == max(alive) < 40
