"""Claims: what they predict, and verdicts that follow from intervals alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

import experiments
from attn.cli.reporting import judged_claims
from attn.config.claims import Claim, Prediction
from attn.errors import UserError
from attn.records.collect import load_all
from attn.report.claims import claim_tables, judge, verdict, words
from attn.report.html import write_page


@pytest.fixture
def runs(tmp_path, make_run):
    make_run("softmax", name="a", score=0.90, spread=0.01)
    make_run("window", name="b", score=0.80, spread=0.01)
    make_run("linear", name="c", score=0.89, spread=0.01)
    make_run("topk", name="lone", score=0.2, seeds=1)
    make_run("bigbird", name="broken", status="failed", error="NaN")
    return {run.name: run for run in load_all(tmp_path)}


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (Prediction("a", "b"), "supported"),
        (Prediction("b", "a"), "refuted"),
        (Prediction("a", "c"), "undecided"),
        (Prediction("a", "b", at_least=0.2), "refuted"),
        (Prediction("a", "c", -0.1, 0.1), "supported"),
        (Prediction("a", "b", -0.05, 0.05), "refuted"),
        (Prediction("a", "c", -0.02, 0.02), "undecided"),
        (Prediction("a", 0.5), "supported"),
        (Prediction("a", "copy_last"), "supported"),
        (Prediction("lone", "copy_last"), "undecided"),
        (Prediction("a", "lone"), "undecided"),
        (Prediction("a", "broken"), "not run"),
        (Prediction("broken", 0.5), "not run"),
        (Prediction("absent", "a"), "not run"),
        (Prediction("a", "no_such_baseline"), "not run"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_verdict_follows_from_the_interval_of_the_difference(
    runs, prediction, expected
):
    assert judge(prediction, runs).verdict == expected


def test_the_difference_is_positive_where_the_first_is_better(tmp_path, make_run):
    knobs = {"task": "pydoc", "metric": "bits_per_byte", "spread": 0.01}
    make_run("softmax", name="a", score=2.0, **knobs)
    make_run("window", name="b", score=2.5, **knobs)
    runs = {run.name: run for run in load_all(tmp_path)}
    assert judge(Prediction("a", "b"), runs).difference.mean == pytest.approx(0.5)
    assert judge(Prediction("a", "gzip"), runs).difference.mean == pytest.approx(0.7)
    assert judge(Prediction("b", "a"), runs).verdict == "refuted"


def test_a_tie_at_the_ceiling_is_undecided(tmp_path, make_run):
    make_run("softmax", name="a", score=1.0, spread=0.0)
    make_run("window", name="b", score=1.0, spread=0.0)
    runs = {run.name: run for run in load_all(tmp_path)}
    assert judge(Prediction("a", "b"), runs).verdict == "undecided"
    assert judge(Prediction("a", "b", -0.01), runs).verdict == "supported"


def test_a_claim_needs_all_of_its_predictions(runs):
    def of(*predictions):
        return verdict([judge(prediction, runs) for prediction in predictions])

    good, bad, open_ = Prediction("a", "b"), Prediction("b", "a"), Prediction("a", "c")
    absent = Prediction("absent", "a")
    assert of(good) == "supported"
    assert of(good, open_) == "undecided"
    assert of(good, absent, open_) == "not run"
    assert of(good, open_, absent, bad) == "refuted"


def test_claims_without_a_run_are_left_out(runs):
    claims = [
        Claim("A beats B.", (Prediction("a", "b"),)),
        Claim("Others do.", (Prediction("x", "y"),)),
    ]
    (table,) = claim_tables(claims, [*runs.values()])
    assert table.title == "Supported: A beats B."
    ((prediction, said, measured),) = [
        [cell.text for cell in row.cells] for row in table.rows
    ]
    assert (prediction, said) == ("a is better than b", "supported")
    assert measured.startswith("10.0 ± ")


def test_bounds_are_said_in_the_unit_of_the_metric():
    assert words(Prediction("a", "b", -0.02, 0.02), "accuracy") == (
        "a is within 2.0 of b (accuracy, %)"
    )
    assert words(Prediction("a", 0.99), "accuracy") == "a is better than 99.0"
    assert words(Prediction("a", "b", 0.1), "bits_per_byte") == (
        "a is better than b by more than 0.100 (bits per byte)"
    )
    assert words(Prediction("a", "b", -math.inf, 0.0), "") == "a is worse than b"


def test_a_claim_without_content_is_refused():
    with pytest.raises(UserError, match="predicts nothing"):
        Claim("All is well.", ())
    with pytest.raises(UserError, match=r"at_least = 0\.5; it must be below"):
        Prediction("a", "b", 0.5, 0.5)


def test_committed_runs_judge_the_claims_of_their_study(tmp_path):
    runs = load_all(Path(experiments.__file__).parent / "results" / "heads")
    tables = judged_claims(runs)
    assert {table.title for table in tables} == {
        "Supported: At equal parameters, one head is worst.",
        "Supported: Very narrow heads lose again.",
    }
    page = write_page([], tmp_path / "report.html", claims=tables).read_text()
    assert "<summary>Supported: At equal parameters, one head is worst." in page
    longer = [
        replace(
            run, config=run.config | {"train": run.config["train"] | {"steps": 9_000}}
        )
        for run in runs
    ]
    assert longer[0].experiment.train.steps == 9_000
    assert judged_claims(longer) == []  # they are not what the study registered


def test_of_several_runs_of_a_name_that_of_the_most_seeds_is_judged(tmp_path, make_run):
    make_run("softmax", name="a", score=0.9, spread=0.01, seeds=5)
    make_run("softmax", name="a", score=0.9, heads=2, status="failed", error="NaN")
    make_run("window", name="b", score=0.8, spread=0.01)
    claim = Claim("A beats B.", (Prediction("a", "b"),))
    (table,) = claim_tables([claim], load_all(tmp_path))
    assert (table.title, table.note) == ("Supported: A beats B.", "")
    for heads in (8, 16):
        make_run("softmax", name="a", score=0.1, spread=0.01, heads=heads)
    runs = load_all(tmp_path)
    for order in (runs, runs[::-1]):
        (table,) = claim_tables([claim], order)
        assert table.title == "Supported: A beats B."
        assert table.note == "3 runs are called a: judged is a_h4_64, n=5"
    page = write_page([], tmp_path / "report.html", claims=[table]).read_text()
    assert "judged is a_h4_64" in page
