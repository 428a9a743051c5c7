"""Pictures show something, the same bytes every time, and labels that can be read."""

import numpy as np
import pytest
from matplotlib.image import imread

from attn.plots.plots import draw, save_all, to_png
from attn.plots.style import DARK, LIGHT, spread
from attn.records.comparison import group_runs
from attn.records.run import load_all, read_maps


@pytest.fixture
def runs(tmp_path, make_run, soft_maps):
    make_run("softmax", step_ms=12.0, temp=2_000_000, maps=soft_maps())
    make_run("window", step_ms=9.0, temp=1_200_000, score=0.6)
    make_run("gated_delta", status="failed", error="NaN")
    return load_all(tmp_path)


def test_every_picture_is_made_and_is_not_blank(runs, tmp_path):
    saved, _ = save_all(runs, tmp_path / "out")
    names = [path.name.removeprefix("mqar-64-tokens_") for path in saved]
    assert names == ["curves.png", "speed.png", "memory.png", "maps_softmax.png"]
    for path in saved:
        pixels = imread(path)[..., :3]
        assert pixels.shape[1] <= 1200
        assert pixels.std() > 0.05, f"{path.name} is all but blank"
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_heads_are_drawn_when_they_vary(tmp_path, make_run):
    for heads in (1, 2, 8):
        make_run("softmax", heads=heads, score=0.5 + heads / 20)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("heads", group, LIGHT).axes
    means = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(means.get_xdata(), [1, 2, 8])
    np.testing.assert_allclose(means.get_ydata(), [55, 60, 90])


def test_heads_are_not_drawn_when_they_do_not_vary(runs):
    (group,) = group_runs(runs)
    assert draw("heads", group, LIGHT) is None


def test_points_stand_where_the_table_says(runs):
    (group,) = group_runs(runs)
    (axes,) = draw("speed", group, LIGHT).axes
    points = {
        (*line.get_xdata(), *line.get_ydata())
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert {(12.0, 90.0), (9.0, 60.0)} <= {(x, round(y, 6)) for x, y in points}


def test_baselines_and_every_run_are_named_on_the_curves(runs):
    (group,) = group_runs(runs)
    figure = draw("curves", group, LIGHT)
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert texts == {"softmax", "window", "gated_delta (failed)", "chance", "copy last"}


def test_the_same_runs_give_the_same_bytes(runs):
    (group,) = group_runs(runs)
    assert to_png(draw("speed", group, LIGHT)) == to_png(draw("speed", group, LIGHT))


def test_a_name_with_dollars_is_text_not_mathematics(tmp_path, make_run):
    for name in ("cost $x", "other $\\frac$"):
        make_run("softmax", name=name, step_ms=len(name), task="a $b$ $")
    (group,) = group_runs(load_all(tmp_path))
    for kind in ("curves", "speed"):
        assert to_png(draw(kind, group, DARK))


def test_a_diverged_run_does_not_spoil_the_pictures(tmp_path, make_run):
    make_run("softmax", score=float("nan"))
    make_run("window", step_ms=9.0)
    make_run("linear", step_ms=7.0)
    (group,) = group_runs(load_all(tmp_path))
    for kind in ("curves", "speed"):
        assert to_png(draw(kind, group, LIGHT))


def test_spread_keeps_order_gap_and_frame():
    wanted = np.array([5.0, 5.1, 5.2, 9.9, 0.0])
    placed = np.array(spread(wanted, 1.0, 0.0, 10.0))
    assert (np.argsort(placed) == np.argsort(wanted)).all()
    assert np.diff(np.sort(placed)).min() >= 1 - 1e-9
    assert placed.min() >= 0
    assert placed.max() <= 10
    assert spread([3.0, 7.0], 1.0, 0.0, 10.0) == [3.0, 7.0]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_text_has_the_contrast_that_wcag_asks_for(theme):
    assert contrast(theme.ink, theme.paper) >= 7
    found = {
        hue: contrast(hue, theme.paper)
        for hue in (theme.soft, *theme.families.values())
    }
    assert min(found.values()) >= 4.5, found


def contrast(one, other):
    """WCAG 2.1 contrast ratio."""
    light = sorted(map(luminance, (one, other)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return parts @ [0.2126, 0.7152, 0.0722]


def test_maps_of_a_thousand_tokens_are_drawn(tmp_path, make_run, soft_maps):
    make_run(maps=soft_maps(layers=1, heads=2, tokens=1000))
    runs = load_all(tmp_path)
    assert read_maps(runs[0]).layers["layer_0"].shape == (2, 1000, 1000)
    saved, _ = save_all(runs, tmp_path / "out")
    assert any("maps_softmax" in path.name for path in saved)
