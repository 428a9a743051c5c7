"""Pictures of examples: images as they are, some of each target."""

import numpy as np

from attn.plots.examples import draw_examples, spread
from attn.plots.style import LIGHT


def test_each_target_has_its_share_in_order():
    targets = np.array([1, 1, 0, 1, 0, 0, 1])
    assert spread(targets, 4) == [2, 4, 0, 1]
    assert spread(targets, 3) == [2, 0, 1]
    assert spread(np.zeros(2, int), 5) == [0, 1]


def test_a_picture_shows_pixels_where_they_are():
    rows = {"tokens": np.arange(12).reshape(2, 6), "targets": np.array([[1], [0]])}
    first, second, *rest = draw_examples(rows, (2, 3), "Two.", LIGHT).axes
    np.testing.assert_array_equal(first.images[0].get_array(), [[6, 7, 8], [9, 10, 11]])
    assert [axes.get_title() for axes in (first, second)] == ["target 0", "target 1"]
    assert not any(axes.images for axes in rest)
