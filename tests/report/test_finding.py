"""Findings say what the numbers say, and no more."""

from attn.records.collect import load_all
from attn.records.comparison import group_runs
from attn.report.finding import findings


def said(tmp_path) -> str:
    (group,) = group_runs(load_all(tmp_path))
    return " ".join(findings(group))


def test_the_best_what_is_alike_and_what_is_behind(tmp_path, make_run):
    make_run("softmax", score=0.90, spread=0.01)
    make_run("window", score=0.89, spread=0.01)
    make_run("linear", score=0.40, spread=0.01)
    text = said(tmp_path)
    assert "Best by its mean: softmax 90.0" in text
    assert "Within its interval or the noise floor: window 89.0" in text
    assert "by more than the intervals: linear 40.0" in text
    assert "All are better than copy last, the best predictor without a model" in text


def test_less_is_better_where_it_is(tmp_path, make_run):
    knobs = {"task": "pydoc", "metric": "bits_per_byte", "spread": 0.001}
    make_run("softmax", score=2.6, **knobs)
    make_run("window", score=2.9, **knobs)
    text = said(tmp_path)
    assert "Best by its mean: softmax 2.600" in text
    assert "Not better than gzip" in text
    assert "window 2.900" in text.partition("Not better")[2]


def test_one_seed_orders_nothing(tmp_path, make_run):
    make_run("softmax", score=0.9, seeds=1)
    make_run("window", score=0.2, seeds=1)
    text = said(tmp_path)
    assert "order nothing: softmax 90.0, window 20.0 (accuracy, %)" in text
    assert "est" not in text


def test_one_seed_is_better_than_nothing(tmp_path, make_run):
    make_run("softmax", score=0.9, seeds=1)
    assert said(tmp_path) == (
        "One seed, no interval, so these numbers order nothing: "
        "softmax 90.0 (accuracy, %)."
    )


def test_those_with_intervals_are_ordered_and_the_rest_is_named(tmp_path, make_run):
    make_run("softmax", score=0.90, spread=0.01)
    make_run("window", score=0.50, spread=0.01)
    make_run("topk", score=0.95, seeds=1)
    make_run("linear", score=float("nan"))
    text = said(tmp_path)
    assert "Best by its mean: softmax 90.0" in text
    assert "by more than the intervals: window 50.0" in text
    assert "All with an interval are better than copy last" in text
    assert "One seed, no interval, so these numbers order nothing: topk 95.0" in text
    assert text.endswith("Not finite: linear.")


def test_a_run_that_was_killed_has_not_failed(tmp_path, make_run):
    make_run("softmax")
    (make_run("window") / "result.json").unlink()
    assert said(tmp_path).startswith("Unfinished: window. softmax 90.0")


def test_failures_are_named(tmp_path, make_run):
    make_run("softmax")
    make_run("window", status="failed", error="NaN")
    assert said(tmp_path).startswith("Failed: window. softmax 90.0")
