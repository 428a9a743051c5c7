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
from attn.inspect import command
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


def errors(curve, mask=Causal()):
    return {point.value: point.mean for point in measure(heads(), mask, [curve])}


def test_a_distance_is_a_share_of_the_size_of_each_head():
    exact = jnp.ones((1, 4, 2, 3))
    out = exact.at[:, :, 1].multiply(3.0)
    np.testing.assert_allclose(relative_error(out, exact), [[0.0, 2.0]])


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.kernel)
def test_a_curve_is_of_a_knob_that_its_mechanism_has(curve):
    knobs = {f.name for f in fields(KERNELS[curve.kernel])}
    assert {curve.knob, *curve.fixed} <= knobs
    assert curve.at(4) != curve.at(8)


@pytest.mark.parametrize("mask", [FULL, Causal()], ids=str)
def test_a_window_comes_nearer_and_one_of_the_text_is_at_no_distance(mask):
    found = errors(Curve("window", "width"), mask)
    assert list(found) == [1, 2, 4, 8, 16, 32]
    assert found[1] > found[8] > found[32]
    # Of a window both ways half lies behind.
    assert (found[32] < 1e-6) == (mask == Causal())


def test_more_random_features_come_nearer_and_every_draw_is_kept():
    points = measure(heads(), Causal(), [Curve("performer", "num_features")])
    assert points[0].mean > 1.5 * points[-1].mean
    assert all(len(set(point.errors)) == 8 for point in points)


def test_what_cannot_be_causal_is_compared_on_all_keys():
    (point, *_) = measure(heads(), Causal(), [Curve("linformer", "rank")])
    assert point.keys == "all"
    (point, *_) = measure(heads(), Causal(), [Curve("window", "width")])
    assert point.keys == "earlier"


def test_table_and_picture_hold_every_point():
    curves = [Curve("window", "width"), Curve("performer", "num_features")]
    points = measure(heads(), Causal(), curves)
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


@pytest.mark.slow
def test_a_finished_run_is_inspected_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    run = tmp_path / "run"
    watcher = Watch(Console(quiet=True), 12)
    assert not run_all([(experiment_of(), run)], watcher=watcher)
    written = command.inspect(experiment_of(), run, tmp_path, lambda _: None)
    record = json.loads(written[0].read_text())
    assert record["tokens"] == RECALL.seq_len
    # What is made for chunks longer than this sequence is left out.
    left_out = {c.kernel for c in CURVES} - {p["kernel"] for p in record["points"]}
    assert left_out == {"reformer"}
    assert all(path.stat().st_size > 100 for path in written)
