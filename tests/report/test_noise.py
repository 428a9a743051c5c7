"""The noise floor of a table, from run folders to the terminal."""

import csv
import shlex

import launch
from attn.plots.apart import floor
from attn.records.collect import load_all
from attn.records.comparison import group_runs
from attn.records.power import detectable, seeds_needed, spread
from attn.report.noise import noise_table


def table_of(folder):
    (group,) = group_runs(load_all(folder))
    return noise_table(group), group


def test_each_run_is_held_against_the_best(tmp_path, make_run):
    make_run("softmax", score=0.90, spread=0.01)
    make_run("window", score=0.87, spread=0.02)
    table, group = table_of(tmp_path)
    runs = {run.mechanism: run.result.test["accuracy"] for run in group.runs}
    sds = {name: spread(values) for name, values in runs.items()}
    (best, other) = table.rows
    assert [cell.text for cell in best.cells[3:]] == ["-", "-", "-"]
    gap, shown, seeds = (cell.value for cell in other.cells[3:])
    assert abs(gap - 0.03) < 1e-9
    assert shown == detectable(sds["window"], sds["softmax"], 3)
    assert seeds == seeds_needed(sds["window"], sds["softmax"], gap)
    assert "Noise floor: 3 seeds" in floor(group)


def test_one_seed_has_no_floor(tmp_path, make_run):
    make_run("softmax", seeds=1)
    make_run("window", seeds=1)
    table, group = table_of(tmp_path)
    assert "one seed shows no noise" in floor(group)
    assert {cell.text for cell in table.rows[1].cells[4:]} == {"-"}


def test_no_number_of_seeds_is_said_where_none_can_be_known(tmp_path, make_run):
    make_run("softmax", score=0.9, seeds=1)
    make_run("window", score=0.8)
    make_run("linear", score=float("nan"))
    make_run("topk", score=0.95, seeds=1)
    table, _ = table_of(tmp_path)
    assert [row.cells[0].text for row in table.rows] == [
        *("window", "topk", "softmax", "linear")
    ]
    assert {row.cells[5].text for row in table.rows} == {"-"}
    assert table.rows[-1].cells[1].value is None


def test_equal_means_need_no_seeds_that_anyone_could_say(tmp_path, make_run):
    for kernel in ("softmax", "window"):
        make_run(kernel, score=0.5)
    make_run("linear", score=0.5 - 1e-6)
    table, _ = table_of(tmp_path)
    assert [row.cells[5].text for row in table.rows] == ["-", "-", "over 1000"]


def test_a_folder_of_runs_is_read_and_no_option_is_taken(tmp_path, make_run, capsys):
    make_run("softmax")
    make_run("window", score=0.5)
    assert launch.main(["power", str(tmp_path)]) == 0
    assert "seeds needed" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "noise.csv").read_text().splitlines()))
    assert [row["mechanism"] for row in rows] == ["softmax", "window"]
    assert abs(float(rows[0]["accuracy"]) - 0.9) < 1e-9
    assert "accuracy, %" not in rows[0]
    assert launch.main(shlex.split(f"power {tmp_path} --seeds 3")) == 2
    assert "leave options out" in capsys.readouterr().err
