"""Distances to softmax: 0 where a mechanism is softmax, and falling along its knob."""

import json
from dataclasses import fields

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tiny import RECALL, TREES, experiment_of

from attn.cli.progress import Watch
from attn.errors import UserError
from attn.inspect import approximation, command
from attn.inspect.approximation import CURVES, Curve, measure, relative_error
from attn.inspect.draw import draw, make_table
from attn.kernels import KERNELS, Linear, Softmax
from attn.masks import FULL, Causal
from attn.plots.style import LIGHT
from attn.plots.tables import to_markdown
from attn.train.study import run_all

T = 32


def heads(seed=0):
    random = np.random.default_rng(seed)
    q, k, v = (jnp.asarray(random.normal(size=(2, T, 2, 8)), "float32") for _ in "qkv")
    return {"layer_1": (q, k, v)}


@pytest.fixture(scope="module")
def window():
    """The points of a window over earlier keys."""
    return measure(heads(), Causal(), [Curve("window", "width")])


@pytest.fixture(scope="module")
def features():
    """The points of random features."""
    return measure(heads(), Causal(), [Curve("performer", "num_features")])


def test_a_distance_is_a_share_of_the_size_of_each_head():
    exact = jnp.ones((1, 4, 2, 3))
    out = exact.at[:, :, 1].multiply(3.0)
    np.testing.assert_allclose(relative_error(out, exact), [[0.0, 2.0]])


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.kernel)
def test_a_curve_is_of_a_knob_that_its_mechanism_has(curve):
    knobs = {f.name for f in fields(KERNELS[curve.kernel])}
    assert {curve.knob, *curve.fixed} <= knobs
    assert curve.at(4) != curve.at(8)


def test_a_window_comes_nearer_and_one_of_the_text_is_at_no_distance(window):
    both_ways = measure(heads(), FULL, [Curve("window", "width")])
    # Of a window both ways half lies behind.
    for points, is_whole in ((window, True), (both_ways, False)):
        found = {point.value: point.mean for point in points}
        assert list(found) == [1, 2, 4, 8, 16, 32]
        assert found[1] > found[8] > found[32]
        assert (found[32] < 1e-6) == is_whole


def test_more_random_features_come_nearer_and_every_draw_is_kept(features):
    assert features[0].mean > 1.5 * features[-1].mean
    assert all(len(set(point.errors)) == 8 for point in features)


def test_what_cannot_be_causal_is_compared_on_all_keys(window):
    (point,) = measure(heads(), Causal(), [Curve("linformer", "rank", most=1)])
    assert point.keys == "all"
    assert {point.keys for point in window} == {"earlier"}


def test_table_and_picture_hold_every_point(window, features):
    points = window + features
    text = to_markdown([make_table(points)])
    assert "| window (width) | sparse |" in text
    assert f"{100 * points[0].mean:.1f}" in text
    figure = draw(points, "Distance", LIGHT)
    drawn = [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]
    kept = {round(float(y), 6) for ys in drawn for y in ys}
    assert {round(p.mean, 6) for p in points} <= kept


def test_another_mechanism_or_a_run_that_is_not_there_is_refused(tmp_path):
    refused = {
        "runs 'linear', as Linear": experiment_of(kernel=Linear()),
        "runs 'softmax', as Softmax.softcap=2": experiment_of(kernel=Softmax(2.0)),
        "runs 'linear'": experiment_of(pattern=("attention", "linear")),
        "has no attention": experiment_of(pattern=("mlp",)),
        "whose sequences are padded": experiment_of(TREES),
    }
    for words, experiment in refused.items():
        with pytest.raises(UserError, match=words):
            command.inspect(experiment, tmp_path, tmp_path, print)
    with pytest.raises(UserError, match="holds no finished run of 'tiny'"):
        command.inspect(experiment_of(), tmp_path / "none", tmp_path, print)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_finished_run_is_inspected_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    run = tmp_path / "run"
    # The course of a curve is asked above; here the end of each is enough.
    values_of = approximation._values
    monkeypatch.setattr(approximation, "_values", lambda *a: values_of(*a)[-1:])
    watcher = Watch(Console(quiet=True), 12)
    assert not run_all([(experiment_of(), run)], watcher=watcher)
    written = command.inspect(experiment_of(), run, tmp_path, lambda _: None)
    record = json.loads(written[0].read_text())
    assert record["tokens"] == RECALL.seq_len
    # What is made for chunks longer than this sequence is left out.
    left_out = {c.kernel for c in CURVES} - {p["kernel"] for p in record["points"]}
    assert left_out == {"reformer"}
    assert all(path.stat().st_size > 100 for path in written)
