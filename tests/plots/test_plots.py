"""Pictures show something, the same bytes every time, and labels that can be read."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from attn.plots.plans import draw_plan
from attn.plots.plots import draw, save_all, to_png, to_svg
from attn.plots.style import DARK, LIGHT, spread
from attn.records.collect import load_all
from attn.records.comparison import group_runs
from attn.records.run import read_maps


@pytest.fixture
def runs(tmp_path, make_run, soft_maps):
    make_run("softmax", step_ms=12.0, temp=2_000_000, maps=soft_maps())
    make_run("window", step_ms=9.0, temp=1_200_000, score=0.6)
    make_run("gated_delta", status="failed", error="NaN")
    return load_all(tmp_path)


def test_every_picture_is_made_and_is_not_blank(runs, tmp_path):
    saved, _ = save_all(group_runs(runs), tmp_path / "out")
    names = [path.name.removeprefix("mqar-64-tokens_") for path in saved]
    pictures = ("curves", "training", "speed", "memory", "maps_softmax")
    assert names == [f"{name}.png" for name in pictures]
    for path in saved:
        pixels = imread(path)[..., :3]
        assert pixels.shape[1] <= 1650
        assert pixels.std() > 0.05, f"{path.name} is all but blank"
        colours = np.rint(255 * pixels).astype(int) @ [1, 256, 256**2]
        assert len(np.unique(colours)) > 20


def test_points_stand_where_the_table_says(runs):
    (group,) = group_runs(runs)
    (axes,) = draw("speed", group, LIGHT).axes
    points = {
        (*line.get_xdata(), *line.get_ydata())
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert {(12.0, 90.0), (9.0, 60.0)} <= {(x, round(y, 6)) for x, y in points}


def names_on(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_curves_name_every_run_once_and_no_baseline_of_another_split(runs):
    (group,) = group_runs(runs)
    names = names_on(draw("curves", group, LIGHT))
    assert sorted(names) == ["gated_delta (failed)", "softmax", "window"]


def test_axes_fit_the_models_and_far_baselines_are_named_at_the_edge(runs):
    (group,) = group_runs(runs)
    figure = draw("speed", group, LIGHT)
    low, high = figure.axes[0].get_ylim()
    assert 40 < low < 60
    assert 90 < high <= 103
    assert "\u2193 chance 0.4, copy last 11.0" in names_on(figure)


def test_a_single_evaluation_is_a_point(tmp_path, make_run):
    make_run("softmax", points=1)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("curves", group, LIGHT).axes
    (line,) = axes.lines
    assert (line.get_marker(), len(line.get_xdata())) == ("o", 1)


def test_labels_tell_apart_what_differs_in_more_than_its_mechanism(tmp_path, make_run):
    for i, (dtype, repeats) in enumerate(
        (("float32", 1), ("bfloat16", 1), ("float32", 2))
    ):
        folder = make_run("softmax", name=f"run{i}")
        config = json.loads((folder / "config.json").read_text())
        config["model"] |= {"dtype": dtype, "repeats": repeats}
        (folder / "config.json").write_text(json.dumps(config))
    (group,) = group_runs(load_all(tmp_path))
    labels = [group.label(run) for run in group.runs]
    assert len({*labels}) == 3
    assert all("dtype" in label or "layers" in label for label in labels)


def test_no_front_is_drawn_through_noise(tmp_path, make_run):
    make_run("softmax", step_ms=12.0, score=0.90)
    make_run("window", step_ms=9.0, score=0.89)  # not told apart
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("speed", group, LIGHT).axes
    assert not [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    make_run("linear", step_ms=3.0, score=0.5)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("speed", group, LIGHT).axes
    (front,) = [a for a in axes.lines if a.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(front.get_xdata(), [3, 9])


def test_no_front_is_drawn_through_one_seed(tmp_path, make_run):
    make_run("softmax", step_ms=12.0, score=0.90)
    make_run("window", step_ms=9.0, score=0.50)
    make_run("topk", step_ms=10.0, score=0.95, seeds=1)
    make_run("linear", step_ms=8.0, score=0.8, seeds=1)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("speed", group, LIGHT).axes
    (front,) = [a for a in axes.lines if a.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(front.get_xdata(), [9, 12])


def test_memory_of_other_numbers_of_seeds_is_not_compared(tmp_path, make_run):
    make_run("softmax", temp=2_000_000)
    make_run("window", temp=1_200_000)
    (group,) = group_runs(load_all(tmp_path))
    assert draw("memory", group, LIGHT) is not None
    make_run("linear", temp=900_000, seeds=1)
    (group,) = group_runs(load_all(tmp_path))
    assert draw("memory", group, LIGHT) is None


def test_short_times_of_a_plan_have_three_digits():
    roofs = {"compute": 4.123e-7, "memory": 1.5}
    _, right = draw_plan("a plan", {"parameters": 1.0}, None, roofs, LIGHT).axes
    assert [text.get_text() for text in right.texts] == ["0.000412", "1500"]


def test_equal_figures_are_equal_svg(runs):
    (group,) = group_runs(runs)
    first = to_svg(draw("training", group, LIGHT))
    assert first == to_svg(draw("training", group, LIGHT))
    assert first.lstrip().startswith(b"<?xml")


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
    saved, _ = save_all(group_runs(runs), tmp_path / "out")
    assert any("maps_softmax" in path.name for path in saved)


def test_a_label_names_what_is_studied_before_a_width_that_was_matched(
    tmp_path, make_run
):
    for i, (positions, d_ff) in enumerate((("none", 8), ("t5", 7), ("alibi", 8))):
        folder = make_run("softmax", name=f"run{i}")
        config = json.loads((folder / "config.json").read_text())
        config["model"] |= {"positions": positions, "d_ff": d_ff}
        (folder / "config.json").write_text(json.dumps(config))
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(result | {"d_ff": d_ff}))
    (group,) = group_runs(load_all(tmp_path))
    assert [group.label(run) for run in group.runs] == [
        f"softmax · positions {name}" for name in ("none", "t5", "alibi")
    ]
