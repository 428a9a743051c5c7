"""The verdicts on published numbers follow from rules, and are not written down."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import TREES, experiment_of

import launch
from attn.records.published import Paper, Table
from attn.records.result import Result
from attn.records.run import Run
from attn.registry import Reproduction
from attn.report.reproduction import compare, orders, summary, tables

COMMITTED = Path(launch.__file__).parent / "experiments/results/reproductions"
ROWS = {"a": (0.5, 30.0), "b": (0.6, 25.5), "c": (0.7, None), "d": (0.8, 20.0)}
TABLE = Table("t", "Table 1: Scores", "%", "small", ("score", "PPL"), ROWS)
PAPER = Paper("p", "A paper", "Some", 2020, "arXiv 0", (TABLE,))
EXPERIMENTS = {row: replace(experiment_of(), name=row) for row in ROWS}


def run_of(*scores, name="a", status="done"):
    result = Result(status=status, test={"accuracy": scores})
    return Run(Path(name), {"name": name}, {}, result)


def verdicts(rows, runs, column="score", **knobs):
    reproduction = Reproduction("p", "t", column, rows, **knobs)
    found = compare(PAPER, [reproduction], runs)
    return {(c.cell.row, c.cell.column): c.verdict for c in found}, found


def test_what_is_computed_must_be_equal_to_the_last_digit():
    said, _ = verdicts({"a": lambda: 0.549, "b": lambda: 0.54}, {})
    assert (said["a", "score"], said["b", "score"]) == ("exact", "differs")
    said, _ = verdicts({"a": lambda: 30.04, "b": lambda: 25.54}, {}, column="PPL")
    assert (said["a", "PPL"], said["b", "PPL"]) == ("exact", "exact")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((0.4, 0.5, 0.6), "within the interval"),
        ((0.55, 0.551, 0.552), "within the interval"),  # its rounding reaches 0.55
        ((0.6, 0.601, 0.602), "outside the interval"),
        ((0.5,), "one seed"),
        ((), "not run"),
    ],
)
def test_what_is_measured_is_held_against_its_interval(scores, said):
    runs = {"a": run_of(*scores)} if scores else {}
    found, _ = verdicts({"a": EXPERIMENTS["a"]}, runs)
    assert found["a", "score"] == said


def test_a_failed_run_is_not_run_and_other_settings_are_not_compared():
    rows = {"a": EXPERIMENTS["a"], "b": EXPERIMENTS["b"]}
    runs = {"a": run_of(0.5, 0.5, status="failed"), "b": run_of(0.6, 0.61)}
    found, _ = verdicts(rows, runs, order_only=True)
    assert (found["a", "score"], found["b", "score"]) == ("not run", "order only")


def test_a_score_in_another_unit_is_scaled():
    rows = {"a": EXPERIMENTS["a"]}
    found, compared = verdicts(rows, {"a": run_of(0.29, 0.31)}, "PPL", scale=100.0)
    (one,) = [c for c in compared if c.by]
    assert found["a", "PPL"] == "within the interval"
    assert one.ours.mean == pytest.approx(30)
    assert one.ours.half > 10


def test_orders_count_pairs_whose_intervals_are_apart():
    runs = {
        "a": run_of(0.10, 0.11, 0.12),
        "b": run_of(0.05, 0.051, 0.052),  # below a, published above it
        "c": run_of(0.3, 0.5, 0.7),  # overlaps with d alone
        "d": run_of(0.8, 0.81, 0.82),
    }
    _, compared = verdicts(EXPERIMENTS, runs, order_only=True)
    (order,) = orders(compared)
    assert (order.agree, order.disagree, order.undecided) == (2, 1, 3)
    _, compared = verdicts(
        EXPERIMENTS, runs, column="PPL", order_only=True, higher_is_better=False
    )
    (order,) = orders(compared)
    assert (order.agree, order.disagree, order.undecided) == (2, 1, 0)


def test_rows_of_other_tasks_have_no_order():
    apart = {"a": EXPERIMENTS["a"], "b": replace(EXPERIMENTS["b"], task=TREES)}
    runs = {"a": run_of(0.1, 0.11), "b": run_of(0.8, 0.81)}
    assert orders(verdicts(apart, runs)[1]) == []
    assert orders(verdicts(EXPERIMENTS, runs)[1])[0].agree == 1


def test_the_table_has_what_stands_beside_ours_and_counts_the_rest():
    _, compared = verdicts({"a": lambda: 0.5}, {}, note="fitted")
    (table,) = tables(PAPER, compared)
    assert [cell.text for cell in table.rows[0].cells] == [
        "a", "score", "0.5", "0.50", "exact", "-",
    ]  # fmt: skip
    assert table.note == "fitted; 6 more numbers of this table: not run"
    assert summary(compared) == "1 exact, 6 not run"


def test_every_reproduction_names_a_table_a_column_and_rows_that_are_published():
    import experiments  # noqa: F401
    from attn.records.published import read_papers
    from attn.registry import papers, reproductions

    (folder,) = papers()
    known = read_papers(folder)
    beside = 0
    for name, paper in known.items():
        ours = reproductions(name)
        named = {(t.name, c): set(t.rows) for t in paper.tables for c in t.columns}
        for one in ours:
            assert set(one.rows) <= named[one.table, one.column], one.name
        found = [c for c in compare(paper, ours, {}) if c.by]
        assert len(found) == sum(len(one.rows) for one in ours), "a null is named"
        beside += len(found)
    assert beside > 20


@pytest.mark.parametrize(
    "path", sorted(COMMITTED.glob("*.md")), ids=lambda path: path.stem
)
def test_committed_comparisons_are_what_the_committed_runs_make(path, tmp_path):
    words = ["reproduce", path.stem, "--have", str(COMMITTED.parent)]
    assert launch.main([*words, "--workdir", str(tmp_path)]) == 0
    assert (tmp_path / path.name).read_text() == path.read_text()


def test_the_hidden_widths_of_shazeer_are_exact(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch.main(shlex.split("reproduce shazeer2019 --json")) == 0
    said = json.loads(capsys.readouterr().out)
    ours = {one["row"]: one for one in said if one["ours"] is not None}
    assert {one["verdict"] for one in ours.values()} == {"exact"}
    assert sum(one["verdict"] == "exact" for one in said) == 11
    assert launch.main(shlex.split("reproduce shazeer2019 --workdir out")) == 0
    assert "11 exact, " in (tmp_path / "out/shazeer2019.md").read_text()
    assert (tmp_path / "out/shazeer2019.tex").exists()


def test_papers_are_listed_and_an_unknown_one_offers_the_nearest(capsys):
    assert launch.main(["reproduce"]) == 0
    listed = capsys.readouterr().out
    assert "Attention Is All You Need (2017), arXiv 1706.03762" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert launch.main(["reproduce", "vaswani"]) == 2
    assert "did you mean 'vaswani2017'?" in capsys.readouterr().err
    assert launch.main(["reproduce", "--have", "x"]) == 2
