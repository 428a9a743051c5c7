"""The plot over heads: which runs share a line, and what the line is called."""

import numpy as np
import pytest
from run_folders import edit

from attn.plots.plots import draw
from attn.plots.style import LIGHT
from attn.records.collect import load_all
from attn.records.comparison import group_runs

SPLIT = {1: 64, 2: 32, 4: 16, 8: 8, 16: 4}
"""By number of heads, the width of those that split 64; all cost the same."""
KEPT = {
    "params": {
        1: (352, 100_000, 90e6),
        2: (320, 100_200, 94e6),
        8: (128, 99_900, 112e6),
    },
    "flops": {
        1: (400, 110_000, 100e6),
        2: (352, 107_000, 99.8e6),
        8: (63, 85_000, 99.5e6),
    },
}
"""By what is matched and number of heads of 16: d_ff, parameters, FLOPs."""


@pytest.fixture
def make(make_run):
    """Makes a run of so many heads of a width, with its costs."""

    def made(
        name, heads, width, d_ff=256, params=100_000, flops=100e6, kernel="softmax"
    ):
        score = 0.5 + heads / 100 + width / 1000 + d_ff / 1e5
        folder = make_run(kernel, name=name, heads=heads, score=score)
        costs = {"params": params, "train_flops_per_step": flops}
        edit(folder, "result", head_dim=width, d_ff=d_ff, **costs)

    return made


def drawn(root):
    """The numbers of heads on each line, by its label."""
    (group,) = group_runs(load_all(root))
    figure = draw("heads", group, LIGHT)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.texts if text.arrow_patch]
    means = [line for line in axes.lines if line.get_marker() == "o"]
    logs = [
        np.rint(np.log2(line.get_xdata())) for line in means
    ]  # drawn a little aside
    counts = [[*map(int, 2**log)] for log in logs]
    return dict(zip(labels, counts, strict=True))


def make_widths(make, kernel="softmax"):
    """Makes heads that split a width, and heads that keep one at either cost."""
    for heads, width in SPLIT.items():
        make(f"{kernel} split", heads, width, kernel=kernel)
    for by, runs in KEPT.items():
        for heads, costs in runs.items():
            make(f"{kernel} {by}", heads, 16, *costs, kernel=kernel)


def test_heads_are_drawn_when_they_vary(tmp_path, make_run):
    for heads in (1, 2, 8):
        make_run("softmax", heads=heads, score=0.5 + heads / 20)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("heads", group, LIGHT).axes
    means = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(means.get_xdata(), [1, 2, 8])
    np.testing.assert_allclose(means.get_ydata(), [55, 60, 90])


def test_heads_of_other_steps_are_not_on_the_line_and_take_none_from_it(
    tmp_path, make_run
):
    for heads in (1, 2, 8):
        make_run("softmax", heads=heads, score=0.5 + heads / 20)
    longer = make_run("softmax", name="longer", heads=8, score=0.99)
    edit(longer, "config", train={"steps": 1000, "batch_size": 64, "peak_lr": 3e-3})
    (group,) = group_runs(load_all(tmp_path))
    figure = draw("heads", group, LIGHT)
    means = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in means] == [[1, 2, 8]]
    np.testing.assert_allclose(means[0].get_ydata(), [55, 60, 90])
    assert "softmax" in drawn(tmp_path)
    edit(make_run("softmax", name="also", heads=2, score=0.6), "config",
         train={"steps": 1000, "batch_size": 64, "peak_lr": 3e-3})  # fmt: skip
    assert {"softmax · steps 500", "softmax · steps 1000"} == {*drawn(tmp_path)}


def test_runs_of_as_many_heads_that_share_keys_are_on_lines_of_their_own(
    tmp_path, make_run
):
    for heads in (4, 8):
        for kv_heads in (1, 2):
            run = make_run("softmax", name=f"kv{kv_heads}", heads=heads)
            edit(run, "result", num_kv_heads=kv_heads)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("heads", group, LIGHT).axes
    means = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in means] == [2, 2]


def test_heads_are_not_drawn_when_they_do_not_vary(tmp_path, make_run):
    make_run("softmax")
    make_run("window")
    (group,) = group_runs(load_all(tmp_path))
    assert draw("heads", group, LIGHT) is None


def test_heads_that_split_a_width_or_keep_one_are_on_a_line_for_each_equal_cost(
    tmp_path, make
):
    make_widths(make)
    assert drawn(tmp_path) == {
        "heads split 64": [1, 2, 4, 8, 16],
        "head dim 16, equal parameters": [1, 2, 4, 8],
        "head dim 16, equal FLOPs": [1, 2, 4, 8],
    }


def test_lines_of_equal_cost_are_of_one_mechanism(tmp_path, make):
    make_widths(make)
    make_widths(make, "differential")
    assert drawn(tmp_path) == {
        f"{kernel} · {label}": counts
        for kernel in ("softmax", "differential")
        for label, counts in (
            ("heads split 64", [1, 2, 4, 8, 16]),
            ("head dim 16, equal parameters", [1, 2, 4, 8]),
            ("head dim 16, equal FLOPs", [1, 2, 4, 8]),
        )
    }


def test_costs_that_differ_by_more_than_a_hundredth_are_not_equal(tmp_path, make):
    make_widths(make)
    make("dearer", 16, 16, 200, 101_500, 120e6)
    assert 16 not in drawn(tmp_path)["head dim 16, equal parameters"]
    make("as dear", 32, 16, 100, 99_500, 130e6)
    assert drawn(tmp_path)["head dim 16, equal parameters"] == [1, 2, 4, 8, 32]


def test_of_two_runs_of_as_many_heads_the_nearer_in_cost_is_on_the_line(tmp_path, make):
    make_widths(make)
    make("near", 2, 16, 300, 100_900, 120e6)
    lines = drawn(tmp_path)
    assert lines["head dim 16, equal parameters"] == [1, 2, 4, 8]
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("heads", group, LIGHT).axes
    shown = [y for line in axes.lines for y in np.atleast_1d(line.get_ydata())]
    scores = {run.name: 100 * run.score.mean for run in group.runs}
    assert not np.isclose(shown, scores["near"]).any()


def test_two_numbers_of_heads_at_equal_cost_are_no_line(tmp_path, make):
    for heads in (1, 2):
        make("split", heads, SPLIT[heads])
        make("kept", heads, 16, *KEPT["params"][heads])
    (group,) = group_runs(load_all(tmp_path))
    assert draw("heads", group, LIGHT) is None


def test_a_whole_grid_of_heads_and_widths_has_a_line_a_width(tmp_path, make):
    for width in (16, 32, 64):
        for heads in (1, 2, 4):
            cost = width * heads * 1000
            make(f"of {width}", heads, width, params=cost, flops=float(cost))
    assert drawn(tmp_path) == {
        f"softmax · head dim {width}": [1, 2, 4] for width in (16, 32, 64)
    }


def test_lines_of_one_kind_at_two_costs_say_the_cost(tmp_path, make):
    make_widths(make)
    for heads in (1, 2, 4, 8):
        make("large", heads, 16, 900 - heads, 200_000, 1e9 * heads)
    lines = drawn(tmp_path)
    assert lines["head dim 16, 100 k parameters"] == [1, 2, 4, 8]
    assert lines["head dim 16, 200 k parameters"] == [1, 2, 4, 8]
    assert lines["head dim 16, equal FLOPs"] == [1, 2, 4, 8]


def test_lines_of_one_family_differ_in_their_strokes(tmp_path, make):
    make_widths(make)
    (group,) = group_runs(load_all(tmp_path))
    (axes,) = draw("heads", group, LIGHT).axes
    means = [line for line in axes.lines if line.get_marker() == "o"]
    assert len({str(line._dash_pattern) for line in means}) == 3
