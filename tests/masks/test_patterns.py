"""Every pattern against its definition: for integers, arrays, and traced under jit."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_definitions import DEFINITIONS, EXAMPLES, brute, cases, patterns, sees

from attn import masks
from attn.errors import UserError
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Fixed,
    Global,
    Mask,
    PerHead,
    Prefix,
    Strided,
    Tile,
    Window,
)


def test_every_pattern_has_a_definition_here():
    public = {getattr(masks, name) for name in masks.__all__}
    classes = {x for x in public if isinstance(x, type) and issubclass(x, Mask)}
    assert set(DEFINITIONS) == classes - {Mask, PerHead}
    assert {type(mask) for mask in EXAMPLES} | {masks.Or, masks.Not} == set(DEFINITIONS)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_dense_is_the_definition_at_every_pair(case):
    mask, T, S = case
    dense = mask.dense(T, S)
    assert dense.shape == (T, S)
    np.testing.assert_array_equal(dense, brute(mask, T, S))


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_predicate_answers_for_plain_integers_as_for_arrays(mask):
    for q in range(12):
        for k in range(12):
            assert bool(mask.predicate(q, k)) == sees(mask, q, k)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_predicate_under_jit_is_the_definition(mask):
    @jax.jit
    def tile(i, j):
        q, k = 4 * i + jnp.arange(4), 6 * j + jnp.arange(6)
        return jnp.broadcast_to(mask.predicate(q[:, None], k[None, :]), (4, 6))

    expected = brute(mask, 12, 12)
    for i in range(3):
        for j in range(2):
            part = expected[4 * i : 4 * i + 4, 6 * j : 6 * j + 6]
            np.testing.assert_array_equal(tile(i, j), part)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_a_traced_position_can_meet_a_plain_one(mask):
    row = jax.jit(lambda k: jnp.asarray(mask.predicate(5, k)))
    column = jax.jit(lambda q: jnp.asarray(mask.predicate(q, 5)))
    for n in range(12):
        assert bool(row(n)) == sees(mask, 5, n)
        assert bool(column(n)) == sees(mask, n, 5)


def test_positions_beyond_a_layout_do_not_fail_under_jit():
    # A kernel pads its last block, and hides the padding by other means.
    mask = Blocks(np.eye(2, dtype=bool), 3)
    seen = jax.jit(lambda q, k: mask.predicate(q, k))(
        jnp.arange(9)[:, None], jnp.arange(9)
    )
    np.testing.assert_array_equal(seen[:6, :6], brute(mask, 6, 6))


@st.composite
def rectangles(draw):
    mask, T, S = draw(cases(make=patterns))
    q0, k0 = draw(st.integers(0, T - 1)), draw(st.integers(0, S - 1))
    return (
        mask,
        T,
        S,
        q0,
        draw(st.integers(q0 + 1, T)),
        k0,
        draw(st.integers(k0 + 1, S)),
    )


@settings(max_examples=200, deadline=None)
@given(rectangles())
def test_verdict_of_a_single_pattern_is_exact_on_any_rectangle(case):
    mask, T, S, q0, q1, k0, k1 = case
    part = brute(mask, T, S)[q0:q1, k0:k1]
    exact = Tile.FULL if part.all() else Tile(int(part.any()))
    assert mask.tile(q0, q1, k0, k1) == exact


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_verdicts_on_many_tiles_at_once_are_those_on_each(mask):
    at = np.arange(0, 12, 3)
    together = mask.tile(at[:, None], at[:, None] + 3, at[None], at[None] + 3)
    for i, j in np.ndindex(4, 4):
        alone = mask.tile(at[i], at[i] + 3, at[j], at[j] + 3)
        assert np.broadcast_to(together, (4, 4))[i, j] == alone


@pytest.mark.parametrize(
    "mask, partial, full",
    [
        (Causal(), 8, 28),
        (Window(8, 0), 15, 0),
        (Window(16, 8), 6 + 7, 7 + 8),
        (Chunk(8), 0, 8),
        (Chunk(16), 0, 16),
        (Prefix(16), 0, 16),
        (Global(8), 0, 15),
        (Fixed(8, 8), 0, 64),
        (Fixed(2, 2), 0, 64),
        (Fixed(8, 1), 56, 8),
        (BigBird(64, 8, num_random=0, num_global=0), 0, 22),
        (BigBird(64, 8, num_random=2, num_global=1, num_window=1), 0, 15 + 7 + 14),
        (Causal() & Window(8, 0), 15, 0),
        (Causal() & Chunk(16), 8, 4),
    ],
    ids=repr,
)
def test_no_tile_of_aligned_blocks_is_partial_that_need_not_be(mask, partial, full):
    grid = masks.mask_schedule(mask, 64, 64, 8, 8).kind
    assert [int((grid == kind).sum()) for kind in Tile][1:] == [partial, full]


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Window(-1, 0), "Window(left=-1): it must be at least 0"),
        (lambda: Window(0, -1), "Window(right=-1): it must be at least 0"),
        (lambda: Dilated(1, 1, 0), "Dilated(dilation=0): it must be at least 1"),
        (lambda: Strided(0), "Strided(stride=0): it must be at least 1"),
        (lambda: Fixed(4, 0), "Fixed(columns=0): it must be at least 1"),
        (lambda: Fixed(4, 5), "Fixed(columns=5): it must be at most stride = 4"),
        (lambda: Global(0), "Global(num_tokens=0): it must be at least 1"),
        (lambda: Prefix(0), "Prefix(length=0): it must be at least 1"),
        (lambda: Chunk(0), "Chunk(size=0): it must be at least 1"),
        (
            lambda: Blocks(np.ones(3, bool), 2),
            "Blocks(layout of shape (3,)): it must be",
        ),
        (
            lambda: Blocks(np.ones((2, 2), bool), 0),
            "Blocks(block=0): it must be at least",
        ),
        (lambda: BigBird(64, num_window=2), "BigBird(num_window=2): it must be odd"),
        (
            lambda: BigBird(64, num_random=-1),
            "BigBird(num_random=-1): it must be at least 0",
        ),
    ],
)
def test_a_pattern_that_means_nothing_is_refused_in_one_line(make, says):
    with pytest.raises(UserError) as raised:
        make()
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_fields_are_whole_numbers_and_kept_as_plain_ones():
    # In a process of its own, where nothing checks annotations before the mask does.
    code = (
        "import numpy as np\n"
        "from attn.masks import Causal, Window\n"
        "print(Window(np.int64(2), 0))\n"
        "Causal(0.5)"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stdout == "Window(2, 0)\n"
    assert done.stderr.endswith("Causal(offset=0.5): it must be a whole number\n")


def test_window_is_the_window_of_flash_attention():
    np.testing.assert_array_equal(
        Window(2, 1).dense(4).astype(int),
        [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 1]],
    )


def test_the_factorised_patterns_are_those_of_the_sparse_transformer():
    # Child et al. 2019, figure 3 (b) and (c), the last row of each with l = 4.
    strided = Causal() & (Window(4, 0) | Strided(4))
    fixed = Causal() & Fixed(4, 1)
    assert strided.dense(12)[11].astype(int).tolist() == [
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        1,
    ]
    assert fixed.dense(12)[10].astype(int).tolist() == [
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        0,
    ]


def test_queries_and_keys_are_aligned_at_the_first():
    assert Causal().dense(2, 5).sum(axis=1).tolist() == [1, 2]
    assert Causal(offset=5 - 2).dense(2, 5).sum(axis=1).tolist() == [4, 5]


def test_big_bird_draws_the_promised_number_of_other_blocks():
    mask = BigBird(64 * 20, 64, num_window=3, num_global=2, num_random=3, seed=1)
    blocks = mask.dense(64 * 20)[::64, ::64]
    i = np.arange(20)
    near = abs(i[:, None] - i) <= 1
    rest = blocks & ~near & (i[:, None] >= 2) & (i >= 2)
    assert rest.sum(axis=1).tolist() == [0, 0] + [3] * 18
    assert blocks[:2].all()
    assert blocks[:, :2].all()


PICKS = [[5, 7], [5, 6], [5, 4], [5, 9], [7, 8], [2, 9], [2, 9], [4, 9], [5, 4], [2, 4]]


def test_big_bird_is_a_function_of_its_fields():
    mask = BigBird(640, 32, seed=5)
    assert mask.picks[4].tolist() == BigBird(640, 32, seed=5).picks[4].tolist()
    assert not (mask.dense(640) == replace(mask, seed=6).dense(640)).all()
    # Kept by hand: a new NumPy must draw the same.
    assert BigBird(640, 64, num_random=2, seed=7).picks.tolist() == PICKS


def test_big_bird_draws_every_block_equally_often():
    mask = BigBird(24, 1, num_window=3, num_global=0, num_random=4)
    hits = np.mean([replace(mask, seed=s).dense(24)[12] for s in range(400)], axis=0)
    others = np.delete(hits, [11, 12, 13])
    assert others.sum() == pytest.approx(4)
    # Each in 400 draws of probability 4/21: five standard deviations are 0.1.
    np.testing.assert_allclose(others, 4 / 21, atol=0.1)


def test_knobs_tell_masks_apart():
    several = [Causal(), Causal(1), Window(1, 0), Window(0, 1), Chunk(2), Prefix(2)]
    several += [Global(2), FULL, ~Causal(), Causal() & Chunk(2), Causal() | Chunk(2)]
    several += [Dilated(1, 0, 2), Dilated(1, 0, 3), Strided(2), Fixed(2), Fixed(2, 2)]
    several += [BigBird(64), BigBird(64, seed=1), Blocks(np.eye(2) > 0, 2)]
    several += [Blocks(np.eye(2) > 0, 3), Blocks(np.eye(2) > 1, 2)]
    assert len(set(several)) == len(several)
