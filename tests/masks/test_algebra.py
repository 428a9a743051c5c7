"""Operators, equality, the algebra as text, checks, masks a head, pictures."""

from contextlib import suppress
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from mask_definitions import EXAMPLES, GRID, brute, cases, compositions

from attn.errors import UserError
from attn.masks import *  # noqa: F403  # for eval of what repr gives
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Fixed,
    Global,
    Mask,
    Not,
    PerHead,
    Strided,
    Window,
)


@settings(max_examples=60, deadline=None)
@given(cases(most=9))
def test_the_cheap_simplifications_hold(case):
    mask, T, S = case
    assert FULL & mask is mask
    assert mask & FULL == mask
    assert mask & mask is mask
    assert mask | mask is mask
    assert mask | FULL == FULL
    assert FULL | mask == FULL
    assert ~~mask == mask
    assert not (~FULL & mask).dense(T, S).any()
    assert not (mask & ~mask).dense(T, S).any()
    assert (mask | ~mask).dense(T, S).all()


def _with_layout(mask) -> bool:
    return "<" in repr(mask)


@settings(max_examples=80, deadline=None)
@given(cases(most=9))
def test_a_mask_is_written_as_one_would_type_it(case):
    mask, _, _ = case
    if _with_layout(mask):
        return
    again = eval(repr(mask))
    assert again == mask
    assert hash(again) == hash(mask)
    assert repr(again) == repr(mask)


@pytest.mark.parametrize(
    "mask, text",
    [
        (FULL, "Full()"),
        (Causal(), "Causal()"),
        (Causal(3), "Causal(3)"),
        (
            Causal() & (Window(255, 0) | Global(4)),
            "Causal() & (Window(255, 0) | Global(4))",
        ),
        (Causal() & Chunk(2) | Global(4), "Causal() & Chunk(2) | Global(4)"),
        (Causal() & (Chunk(2) & Global(4)), "Causal() & (Chunk(2) & Global(4))"),
        (~Causal() & ~(Chunk(2) | Strided(3)), "~Causal() & ~(Chunk(2) | Strided(3))"),
        (Fixed(8), "Fixed(8)"),
        (BigBird(640, num_random=2), "BigBird(640, num_random=2)"),
        (BigBird(640, 32, seed=1), "BigBird(640, 32, seed=1)"),
        (PerHead((Causal(), Chunk(2))), "PerHead((Causal(), Chunk(2)))"),
        (Blocks(GRID, 4) & Causal(), "Blocks(<3 x 3, 5 marked>, 4) & Causal()"),
    ],
)
def test_text_leaves_out_defaults_and_needless_parentheses(mask, text):
    assert repr(mask) == text


def near(mask, T):
    """The mask with another value of one field, where T tokens still have a map."""
    for field in fields(mask):
        value = getattr(mask, field.name)
        if isinstance(value, Mask):
            others = near(value, T)
        elif isinstance(value, np.ndarray):
            others = [value ^ (np.arange(value.size).reshape(value.shape) == 0)]
        else:
            others = [value - 2, value - 1, value + 1, value + 2]
        for other in others:
            with suppress(UserError):
                (found := replace(mask, **{field.name: other})).check(T, T)
                yield found


@settings(max_examples=60, deadline=None)
@given(compositions(9, 9))
def test_masks_of_equal_fields_are_equal_and_those_of_other_maps_are_not(mask):
    again = replace(mask)
    assert again == mask
    assert hash(again) == hash(mask)
    for other in near(mask, 9):
        if (mask.dense(9) != other.dense(9)).any():
            assert mask != other


@pytest.mark.parametrize("mask", [m for m in EXAMPLES if fields(m)], ids=str)
def test_a_mask_has_a_near_one_of_another_map(mask):
    maps = [other.dense(12) for other in near(mask, 12)]
    assert any((seen != mask.dense(12)).any() for seen in maps)


def test_layouts_are_equal_by_what_they_hold():
    mask, again = Blocks(GRID, 4), Blocks(GRID.copy(), 4)
    assert mask == again
    assert hash(mask) == hash(again)
    assert mask != Blocks(~GRID, 4)
    assert mask != Blocks(GRID, 5)
    assert Blocks(np.zeros((1, 2)) > 0, 1) != Blocks(np.zeros((2, 1)) > 0, 1)


def test_a_layout_keeps_what_it_was_given():
    layout = GRID.copy()
    mask = Blocks(layout, 1)
    layout[:] = False
    np.testing.assert_array_equal(mask.dense(3), GRID)
    with pytest.raises(ValueError, match="read-only"):
        mask.layout[0, 0] = False


def test_any_dense_mask_is_a_layout_of_single_pairs():
    seen = np.random.default_rng(0).random((7, 5)) < 0.4
    np.testing.assert_array_equal(Blocks(seen, 1).dense(7, 5), seen)
    assert Blocks(seen, 1).count(7, 5) == seen.sum()


@pytest.mark.parametrize(
    "use",
    [
        lambda mask: mask.check(512, 512),
        lambda mask: mask.dense(512),
        lambda mask: mask.count(512),
        lambda mask: mask.density(512),
        lambda mask: mask.row_interval(512),
        lambda mask: mask.band(512),
        lambda mask: mask.picture(512),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda mask: mask,
        lambda mask: Causal() & mask,
        lambda mask: mask | Causal(),
        lambda mask: ~mask,
        lambda mask: ~(Chunk(3) & (Causal() | mask)),
    ],
)
def test_a_mask_made_for_other_lengths_is_refused(wrap, use):
    for mask in (BigBird(1024), Blocks(np.ones((16, 16), bool), 64)):
        with pytest.raises(
            UserError, match="made for 1024 x 1024, used with 512 x 512"
        ):
            use(wrap(mask))


def test_the_last_block_of_a_layout_need_not_be_whole():
    mask = Blocks(GRID, 4)
    np.testing.assert_array_equal(mask.dense(10, 9), brute(mask, 10, 9))
    for T, S in ((8, 12), (12, 8), (13, 12), (12, 13)):
        with pytest.raises(UserError, match="made for 12 x 12"):
            mask.check(T, S)


def test_a_mask_made_for_no_lengths_takes_all():
    for mask in (Causal(), ~(Chunk(3) | Fixed(4)) & Global(2)):
        mask.check(1, 10**9)


def test_operators_go_to_each_head():
    heads = PerHead((Causal(), Window(2, 0)))
    assert (heads & Chunk(4)).masks == (Causal() & Chunk(4), Window(2, 0) & Chunk(4))
    assert (Chunk(4) & heads).masks == (Chunk(4) & Causal(), Chunk(4) & Window(2, 0))
    assert (heads | Chunk(4)).masks == (Causal() | Chunk(4), Window(2, 0) | Chunk(4))
    assert (FULL | heads).masks == (FULL, FULL)
    assert (~heads).masks == (Not(Causal()), Not(Window(2, 0)))
    assert (heads & ~heads).masks[1] == Window(2, 0) & ~Window(2, 0)
    assert hash(heads) == hash(PerHead((Causal(), Window(2, 0))))


def test_masks_of_heads_are_shown_head_by_head():
    heads = PerHead((Causal(), Window(2, 0)))
    dense = heads.dense(5, 6)
    assert dense.shape == (2, 5, 6)
    np.testing.assert_array_equal(dense[1], Window(2, 0).dense(5, 6))
    assert heads.count(5, 6) == dense.sum()
    assert heads.density(5, 6) == pytest.approx(dense.mean())


def test_masks_of_heads_have_no_single_answer():
    heads = PerHead((Causal(), Window(2, 0)))
    for ask in (
        lambda: heads.predicate(0, 1),
        lambda: heads.tile(0, 1, 0, 1),
        lambda: heads.row_interval(4),
        lambda: heads.picture(4),
    ):
        with pytest.raises(UserError, match=r"take one of its \.masks"):
            ask()
    heads.check_heads(2)
    with pytest.raises(UserError, match="2 masks, used with 3 query heads"):
        heads.check_heads(3)
    with pytest.raises(UserError, match="as many heads on both sides"):
        heads & PerHead((Causal(),))
    with pytest.raises(UserError, match="at least one plain mask"):
        PerHead(())
    with pytest.raises(UserError, match="made for 64 x 64"):
        PerHead((Causal(), BigBird(64))).check(32, 32)


def test_a_picture_of_single_pairs_is_the_map():
    for mask in EXAMPLES:
        rows = mask.picture(12).split("\n")
        drawn = np.array([[c == "█" for c in row] for row in rows])
        np.testing.assert_array_equal(drawn, brute(mask, 12, 12))


def test_a_picture_of_tiles_shades_what_is_partly_seen():
    assert Causal().picture(8, width=4) == "▒···\n█▒··\n██▒·\n███▒"
    assert FULL.picture(5, width=3) == "███\n███\n███"  # the last tile is not whole
    assert Causal().picture(4, 8, width=4) == "▒···\n█▒··"
    with pytest.raises(UserError, match="at least 1"):
        Causal().picture(8, width=0)
