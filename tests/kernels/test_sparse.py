"""What each sparse pattern is made of, beyond its definition in `tests/naive`."""

from dataclasses import replace

import naive
import numpy as np
import pytest

from attn import kernels
from attn.errors import UserError
from attn.kernels.sparse.base import looks_ahead
from attn.masks import FULL, Causal, Chunk, PerHead, Prefix, Strided, Window

BIRD = kernels.BigBirdAttention(block=4, num_window=3, num_global=2, num_random=3)


def layout(spec, T):
    """Which blocks of keys each block of queries sees, by the first of each."""
    return spec.pattern(FULL, T, T).dense(T)[:: spec.block, :: spec.block]


@pytest.mark.parametrize("T", [64, 61])
def test_bigbird_sees_its_window_the_first_blocks_and_as_many_others_as_asked(T):
    seen, M = layout(BIRD, T), -(-T // BIRD.block)
    whole = BIRD.pattern(FULL, T, T).dense(T)
    spread = np.kron(seen, np.ones((4, 4), bool))[:T, :T]
    np.testing.assert_array_equal(whole, spread)
    assert seen[:2].all()
    assert seen[:, :2].all()
    for i in range(2, M):
        near = {j for j in (i - 1, i, i + 1) if j < M}
        others = set(np.flatnonzero(seen[i])) - near - {0, 1}
        assert near <= set(np.flatnonzero(seen[i]))
        assert len(others) == 3


def test_bigbird_draws_the_same_blocks_for_a_seed_and_others_for_another():
    np.testing.assert_array_equal(layout(BIRD, 64), layout(replace(BIRD), 64))
    assert BIRD.pattern(FULL, 64, 64) == replace(BIRD).pattern(FULL, 64, 64)
    assert (layout(BIRD, 64) != layout(replace(BIRD, seed=1), 64)).any()


def test_bigbird_refuses_a_sequence_with_fewer_blocks_than_a_query_sees():
    BIRD.check_length(29)
    with pytest.raises(UserError, match=r"bigbird.block = 4; 28 tokens are 7 blocks"):
        BIRD.check_length(28)


def test_dilation_of_one_is_a_window():
    T, wide = 9, kernels.DilatedAttention(width=4, dilation=1)
    for mask in (FULL, Causal()):
        window = kernels.WindowAttention(width=4).pattern(mask, T, T)
        np.testing.assert_array_equal(
            wide.pattern(mask, T, T).dense(T), window.dense(T)
        )


def test_strided_and_fixed_are_the_rows_of_their_figure():
    seen = {
        spec.name: np.flatnonzero(spec.pattern(Causal(), 16, 16).dense(16)[13]).tolist()
        for spec in (
            kernels.StridedAttention(stride=4),
            kernels.FixedAttention(stride=4, columns=1),
        )
    }
    assert seen == {
        "strided": [1, 5, 9, 10, 11, 12, 13],
        "fixed": [3, 7, 11, 12, 13],
    }


def test_streaming_keeps_the_first_tokens_and_the_last_ones():
    spec = kernels.StreamingAttention(width=3, num_first=2)
    seen = spec.pattern(Causal(), 9, 9).dense(9)
    assert np.flatnonzero(seen[8]).tolist() == [0, 1, 6, 7, 8]
    assert seen.sum(axis=1).max() == 5


@pytest.mark.parametrize(
    ("mask", "ahead"),
    [
        (FULL, True),
        (Causal(), False),
        (Causal() & Chunk(4), False),
        (Window(5, 0), False),
        (Chunk(1), False),
        (Chunk(4), True),
        (Causal() | Prefix(3), True),
        (Strided(3), True),
        (Strided(9), False),
        (PerHead((Causal(), FULL)), True),
    ],
    ids=str,
)
def test_a_mask_looks_ahead_if_any_query_sees_a_later_key(mask, ahead):
    assert looks_ahead(mask, 9, 9) == ahead


@pytest.mark.parametrize(
    "spec",
    [
        *(naive.SPECS[name] for name in naive.PATTERNS),
        kernels.FixedAttention(stride=4, columns=3),
        kernels.DilatedAttention(width=4, dilation=3),
    ],
    ids=str,
)
def test_decoding_keeps_the_keys_that_a_later_query_sees_and_no_others(spec):
    T = 80
    seen = spec.pattern(Causal(), T, T).dense(T)
    kept = [seen[t:, : t + 1].any(axis=0).sum() for t in range(T)]
    assert 2 * max(kept) == spec.state_size(T, 1, 1, Causal())
