"""The picture of masks shows each tile's verdict, the density and the algebra."""

import numpy as np
import pytest

from attn.errors import UserError
from attn.masks import FULL, BigBird, Causal, Global, Tile, Window, mask_schedule
from attn.plots.masks import percent, plot_masks, shades, shortened
from attn.plots.style import DARK, LIGHT

MASKS = {
    "causal": Causal(),
    "streaming": Causal() & (Window(15, 0) | Global(2)),
    "bigbird": BigBird(64, 4),
    "all": FULL,
    "window": Window(9, 9),
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_each_panel_holds_the_verdicts_of_its_mask(theme):
    figure = plot_masks(MASKS, 64, tiles=16, theme=theme)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == len(MASKS)
    for axes, (name, mask) in zip(panels, MASKS.items()):
        schedule = mask_schedule(mask, 64, 64, 4, 4, ragged=False)
        expected = np.full((16, 16), Tile.EMPTY)
        expected[schedule.row, schedule.column] = schedule.kind
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), expected)
        assert axes.get_title(loc="left").startswith(f"{name} · ")
        assert axes.texts[0].get_text() == repr(mask)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_tiles_stand_at_their_tokens_where_the_lengths_are_cut():
    (axes,) = plot_masks({"causal": Causal()}, 10, 18, tiles=4).axes
    # Tiles of 5 tokens: 2 × 4 of them, the last key tile cut at 18.
    assert axes.images[0].get_extent() == [0, 20, 10, 0]
    assert (*axes.get_xlim(), *axes.get_ylim()) == (0, 18, 10, 0)


def test_the_three_shades_can_be_told_apart():
    for theme in (LIGHT, DARK):
        assert len(set(map(str, shades(theme)))) == len(Tile)


@pytest.mark.parametrize(
    "density, text",
    [(0.0, "0%"), (1.0, "100%"), (0.5, "50%"), (0.99999, "99.9%"), (1e-9, "0.0001%")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(density, text):
    assert percent(density) == text


def test_long_algebra_is_cut_and_says_so():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UserError, match="at least one"):
        plot_masks({}, 8)
    with pytest.raises(UserError, match="made for 64 x 64"):
        plot_masks({"bigbird": BigBird(64, 4)}, 32)
