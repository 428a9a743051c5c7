"""Run folders are read whole or refused by name; means and intervals are Student's."""

import json
import math

import numpy as np
import pytest

from attn.errors import UserError
from attn.records.estimates import estimate, t_quantile
from attn.records.run import load_all, read_maps


@pytest.mark.parametrize(
    ("degrees", "known"),
    [
        (1, 12.706),
        (2, 4.303),
        (9, 2.262),
        (30, 2.042),
        (31, 2.0395),
        (60, 2.0003),
        (120, 1.9799),
    ],
)
def test_t_quantiles_are_the_published_ones(degrees, known):
    assert t_quantile(degrees) == pytest.approx(known, abs=6e-4)


def test_the_interval_of_three_seeds_is_4_303_standard_errors():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.303 / math.sqrt(3))
    assert (found.low, found.high, found.n) == (2 - found.half, 2 + found.half, 3)


def test_intervals_of_five_normal_seeds_hold_the_truth_95_times_in_100():
    draws = np.random.default_rng(0).normal(size=(4000, 5)).tolist()
    held = [e.low <= 0 <= e.high for e in map(estimate, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_one_seed_has_no_interval():
    found = estimate([0.7])
    assert (found.mean, found.half, found.n) == (0.7, None, 1)


def test_a_diverged_seed_is_not_averaged_away():
    assert math.isnan(estimate([0.9, math.nan, 0.9]).mean)


def test_runs_are_found_at_any_depth_and_come_by_family(tmp_path, make_run):
    for kernel in ("retention", "window", "linear", "bigbird", "softmax"):
        make_run(kernel)
    found = load_all(tmp_path)
    assert [r.mechanism for r in found] == [
        "softmax",
        "bigbird",
        "window",
        "linear",
        "retention",
    ]
    assert found[0].score.mean == pytest.approx(0.9)
    steps, estimates = zip(*found[0].curve())
    assert steps[-1] == 500
    assert all(e.n == 3 for e in estimates)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        load_all(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load_all(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["config.json", "env.json", "result.json", "metrics.jsonl"]
)
def test_a_damaged_file_is_named(tmp_path, make_run, name):
    folder = make_run()
    text = (folder / name).read_text()
    (folder / name).write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=rf"{name}.*damaged"):
        load_all(tmp_path)


@pytest.mark.parametrize("values", ['["no", "object"]', '"status"', "3", "{}"])
def test_a_result_that_is_no_result_is_named(tmp_path, make_run, values):
    (make_run() / "result.json").write_text(values)
    with pytest.raises(UserError, match=r"result\.json"):
        load_all(tmp_path)


def test_a_missing_config_is_named(tmp_path, make_run):
    (make_run() / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_all(tmp_path)


def test_done_without_a_score_is_refused(tmp_path, make_run):
    path = make_run() / "result.json"
    result = json.loads(path.read_text())
    del result["test"]["accuracy"]
    path.write_text(json.dumps(result))
    with pytest.raises(
        UserError, match=r"result\.json says done but has no test\.accuracy"
    ):
        load_all(tmp_path)


def test_a_run_that_failed_before_its_first_step_still_loads(tmp_path, make_run):
    folder = make_run(status="failed", error="out of memory")
    (folder / "metrics.jsonl").unlink()
    path = folder / "result.json"
    path.write_text(json.dumps({"status": "failed", "error": "out of memory"}))
    (run,) = load_all(tmp_path)
    assert run.failed
    assert run.score is None
    assert (run.mechanism, run.curve()) == ("softmax", [])


def test_maps_come_back_as_written_with_their_labels(tmp_path, make_run, soft_maps):
    maps = soft_maps(layers=11)
    make_run(maps=maps, labels=[f"w{i}" for i in range(24)])
    (run,) = load_all(tmp_path)
    found = read_maps(run)
    assert list(found.layers) == [f"layer_{i}" for i in range(11)]
    assert found.labels[3] == "w3"
    np.testing.assert_array_equal(
        found.layers["layer_10"], maps["layer_10"].astype("float32")
    )


def test_damaged_maps_are_named(tmp_path, make_run, soft_maps):
    folder = make_run(maps=soft_maps())
    data = (folder / "maps.npz").read_bytes()
    (folder / "maps.npz").write_bytes(data[:200])
    with pytest.raises(UserError, match=r"maps\.npz cannot be read"):
        read_maps(load_all(tmp_path)[0])
