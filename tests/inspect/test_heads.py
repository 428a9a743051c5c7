"""Measures of heads: on maps whose numbers are known."""

import numpy as np
import pytest

from attn.inspect.heads import (
    entropy,
    heads_table,
    measure_heads,
    shares,
    weights_from,
    word_heads_table,
    word_table,
)
from attn.inspect.looking import telling
from attn.plots.tables import to_markdown
from attn.plots.text_maps import LayerMap

WORDS = tuple("the animal was tired".split())
T = len(WORDS)
PREVIOUS = np.eye(T, k=-1)
PREVIOUS[0, 0] = 1.0
UNIFORM = np.full((T, T), 1 / T)
FIRST = np.eye(T)[:1].repeat(T, axis=0)


def layer_of(*heads, kind="layer", number=0, queries=WORDS, keys=WORDS):
    values = np.stack(heads).astype(np.float32)
    return LayerMap(kind, number, "dense", values, queries, keys)


def test_a_head_of_the_token_before_a_flat_one_and_a_sink_are_told_apart():
    before, flat, sink = measure_heads([layer_of(PREVIOUS, UNIFORM, FIRST)])
    assert (before.entropy, before.previous, before.itself) == (0.0, 1.0, 0.0)
    assert before.first == pytest.approx(1 / 3)  # of the three queries after the first
    assert (flat.entropy, flat.largest) == pytest.approx((2.0, 0.25))
    assert flat.itself == flat.previous == pytest.approx(0.25)
    assert (sink.first, sink.key, sink.share) == (1.0, "the", 1.0)


def test_cross_attention_counts_every_query_and_has_no_token_of_its_own():
    (head,) = measure_heads([layer_of(np.eye(2, 4), kind="cross", queries=("a", "b"))])
    assert (head.first, head.share, head.itself, head.previous) == (
        0.5,
        0.5,
        None,
        None,
    )


def test_weights_below_0_and_sums_beyond_1_count_by_their_share():
    np.testing.assert_allclose(shares(np.array([[-3.0, 1.0]])), [[0.75, 0.25]])
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist() == [0.0, 1.0]


def test_a_word_of_two_tokens_has_the_mean_of_their_weights():
    found = weights_from([layer_of(PREVIOUS, FIRST)], "was tired", [2, 3])
    np.testing.assert_allclose(found.weights[0, 0], [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(found.mean, [0.5, 0.25, 0.25, 0])
    assert found.visible == 3


def test_the_table_of_a_word_counts_the_heads_in_which_each_key_is_largest():
    layers = [layer_of(PREVIOUS, FIRST), layer_of(FIRST, FIRST, number=1)]
    text = to_markdown([word_table(weights_from(layers, "tired", [3]))])
    assert "| the | 0 | 0.750 | 3 | 1.000 | layer 0, head 1 |" in text
    assert "| was | 2 | 0.250 | 1 | 1.000 | layer 0, head 0 |" in text
    assert "4 heads; a head that saw all 2 keys alike would give each 0.500." in text
    text = to_markdown([word_heads_table(weights_from(layers, "tired", [3]))])
    assert "| layer 0 | 0 | was | 1.000 | the | 0.000 |" in text


def test_the_table_of_heads_has_a_row_each():
    text = to_markdown([heads_table(measure_heads([layer_of(PREVIOUS, UNIFORM)]))])
    assert (
        "| layer 0 | 1 | 2.00 | 0.250 | 0.250 | 0.250 | 0.250 | the | 0.250 |" in text
    )


def test_a_head_that_reaches_far_is_more_telling_than_one_of_positions():
    far = PREVIOUS.copy()
    far[3] = [0, 1, 0, 0]
    layer = layer_of(PREVIOUS, FIRST, far)
    assert [telling(layer, head) for head in range(3)] == [0.0, 0.0, 0.25]
    assert telling(layer_of(PREVIOUS, kind="cross"), 0) == 1.0
