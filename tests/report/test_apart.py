"""What seeds can tell apart: the noise floor, and bold, which is never below it."""

import pytest
from run_folders import edit

from attn.plots.apart import floor
from attn.plots.results import CAPTION, make_tables
from attn.records.collect import load_all
from attn.records.comparison import group_runs
from attn.records.power import detectable, spread
from attn.report import write_report
from attn.report.finding import findings


def set_scores(folder, *values):
    edit(folder, "result", test={"accuracy": values})


def bold(table):
    return [row.cells[0].text for row in table.rows if any(c.strong for c in row.cells)]


@pytest.mark.parametrize("seeds", [2, 3])
def test_every_table_says_the_smallest_difference_that_its_seeds_show(
    tmp_path, make_run, seeds
):
    folder = make_run("softmax", seeds=seeds, spread=0.02)
    (run,) = load_all(tmp_path)
    sd = spread(run.result.test["accuracy"])
    least = f"{100 * detectable(sd, sd, seeds):.1f}"
    (table,) = make_tables([run])
    assert (
        f"Noise floor: {seeds} seeds with the median spread find a difference of {least} "
        "with 80% power at 5 %, and smaller ones less often (accuracy, %)."
    ) in table.note.splitlines()
    written = write_report([run], tmp_path / "out", folder.name)
    for path in (written.table, written.page):
        assert path.read_text().count("Noise floor: ") == 1


def test_a_floor_below_the_digits_of_a_table_is_not_said_to_be_zero(tmp_path, make_run):
    make_run("softmax", spread=0.0)
    make_run("window", spread=0.0001)
    (group,) = group_runs(load_all(tmp_path))
    assert "find a difference of less than 0.1 with" in floor(group)


def test_one_seed_shows_no_noise_and_the_table_says_what_does(tmp_path, make_run):
    make_run("softmax", seeds=1)
    make_run("window", seeds=1)
    (group,) = group_runs(load_all(tmp_path))
    said = "Noise floor: one seed shows no noise; run with --seeds 3."
    assert floor(group) == said
    (table,) = make_tables(group.runs)
    assert said in table.note.splitlines()


def test_where_nothing_was_scored_no_floor_is_said(tmp_path, make_run):
    make_run("softmax", status="failed", error="NaN")
    make_run("window", score=float("nan"))
    (group,) = group_runs(load_all(tmp_path))
    assert floor(group) == ""


def test_bold_never_marks_a_difference_below_the_detectable_one(tmp_path, make_run):
    set_scores(make_run("softmax"), 0.9, 0.9, 0.9)
    set_scores(make_run("window"), 0.86, 0.87, 0.88)
    set_scores(make_run("linear"), 0.74, 0.75, 0.76)
    (group,) = group_runs(load_all(tmp_path))
    scores = {run.mechanism: run.score for run in group.runs}
    assert scores["window"].high < scores["softmax"].low  # intervals alone would order
    assert 0.03 < detectable(0.0, 0.01, 3) < 0.15
    (table,) = make_tables(group.runs)
    assert bold(table) == ["softmax", "window"]
    said = findings(group)
    assert (
        "Within its interval or the noise floor: window 87.0 ± 2.5 (accuracy, %)."
        in said
    )
    assert any("Behind it" in line and "linear 75.0" in line for line in said)
    assert "or whose difference from it is below" in CAPTION


@pytest.mark.parametrize("gap", [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08])
@pytest.mark.parametrize("best", [0.0, 0.005, 0.01])
def test_whatever_is_not_bold_differs_by_what_the_seeds_detect(
    tmp_path, make_run, gap, best
):
    set_scores(make_run("softmax"), 0.9 - best, 0.9, 0.9 + best)
    set_scores(make_run("window"), 0.89 - gap, 0.9 - gap, 0.91 - gap)
    (group,) = group_runs(load_all(tmp_path))
    (table,) = make_tables(group.runs)
    one, other = (run.score for run in group.runs)
    meet = one.low <= other.high and other.low <= one.high
    if meet or gap < detectable(best, 0.01, 3):
        assert bold(table) == ["softmax", "window"]
    else:
        assert bold(table) == ["softmax"]
