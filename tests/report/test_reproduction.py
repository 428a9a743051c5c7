"""The verdicts on published numbers follow from rules, and are not written down."""

import json
import re
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from tiny import TREES, experiment_of

import launch
from attn.cli.options import Reproducing
from attn.cli.reproducing import _runs
from attn.config.compiled import CompiledStep
from attn.errors import UserError
from attn.kernels import WindowAttention
from attn.records import collect
from attn.records.compiled import FILE, Planned, read_planned
from attn.records.identity import identity
from attn.records.published import Paper, Table, cells
from attn.records.result import Result
from attn.records.run import Run
from attn.registry import Reproduction
from attn.report.reproduced import tables, write_page
from attn.report.reproduction import compare, orders, summary

COMMITTED = Path(launch.__file__).parent / "experiments/results/reproductions"
ROWS = {"a": (0.5, 30.0), "b": (0.6, 25.5), "c": (0.7, None), "d": (0.8, 20.0)}
TABLE = Table("t", "Table 1: Scores", "%", "small", ("score", "PPL"), ROWS)
PAPER = Paper("p", "A paper", "Some", 2020, "arXiv 0", (TABLE,))
EXPERIMENTS = {row: replace(experiment_of(), name=row) for row in ROWS}
LOADED = cache(collect.load_all)
"""The committed runs are read, and held against their seals, once."""


def run_of(*scores, name="a", status="done"):
    result = Result(status=status, test={"accuracy": scores})
    return Run(Path(name), {"name": name}, {}, result)


def verdicts(rows, runs, column="score", **knobs):
    reproduction = Reproduction("p", "t", column, rows, **knobs)
    runs = {EXPERIMENTS[name]: run for name, run in runs.items()}
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
        ((0.5, float("nan"), 0.5), "not finite"),
        ((), "not run"),
    ],
)
def test_what_is_measured_is_held_against_its_interval(scores, said):
    runs = {"a": run_of(*scores)} if scores else {}
    found, _ = verdicts({"a": EXPERIMENTS["a"]}, runs)
    assert found["a", "score"] == said


def test_a_seed_that_diverged_is_said_and_has_no_place_in_an_order():
    rows = {"a": EXPERIMENTS["a"], "b": EXPERIMENTS["b"]}
    runs = {"a": run_of(0.5, float("nan")), "b": run_of(0.6, 0.61)}
    found, compared = verdicts(rows, runs, order_only=True)
    assert (found["a", "score"], found["b", "score"]) == ("not finite", "order only")
    assert orders(compared) == []
    (table,) = tables(PAPER, compared)
    assert (table.rows[0].cells[3].text, table.rows[0].cells[3].value) == (
        "not finite (n=2)",
        None,
    )


def test_a_failed_run_is_not_run_and_other_settings_are_not_compared():
    rows = {"a": EXPERIMENTS["a"], "b": EXPERIMENTS["b"]}
    runs = {"a": run_of(0.5, 0.5, status="failed"), "b": run_of(0.6, 0.61)}
    found, _ = verdicts(rows, runs, order_only=True)
    assert (found["a", "score"], found["b", "score"]) == ("not run", "order only")


def test_other_settings_without_a_row_to_be_in_order_with_are_not_comparable():
    a = EXPERIMENTS["a"]
    runs = {"a": run_of(0.5, 0.5)}
    found, compared = verdicts({"a": a}, runs, order_only=True)
    assert (found["a", "score"], orders(compared)) == ("not comparable", [])
    apart = {"a": a, "b": replace(EXPERIMENTS["b"], task=TREES)}
    found, _ = verdicts(apart, runs, order_only=True)
    assert (found["a", "score"], found["b", "score"]) == ("not comparable", "not run")
    beside = {"a": a, "b": EXPERIMENTS["b"]}  # b is not run yet
    assert verdicts(beside, runs, order_only=True)[0]["a", "score"] == "order only"
    assert verdicts({"a": a}, runs)[0]["a", "score"] == "within the interval"


def test_a_computed_row_is_none_to_be_in_order_with():
    rows = {"a": EXPERIMENTS["a"], "b": lambda: 0.6}
    found, _ = verdicts(rows, {"a": run_of(0.5, 0.5)}, order_only=True)
    assert (found["a", "score"], found["b", "score"]) == ("not comparable", "exact")


def test_why_a_table_is_not_run_is_said_with_the_verdicts():
    table = replace(TABLE, not_run="nothing here can")
    compared = compare(replace(PAPER, tables=(table,)), [], {})
    assert summary(compared) == "7 not run; nothing here can"


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


def test_runs_are_found_by_what_they_are_and_not_by_their_names(tmp_path, monkeypatch):
    dense = replace(experiment_of(), name="new")
    window = replace(dense, model=replace(dense.model, kernel=WindowAttention()))
    older = replace(dense, name="old", claim="Another.")
    there = {"have": [older], "work": [window]}
    for folder in there:
        (tmp_path / folder / "compiled").mkdir(parents=True)
    monkeypatch.setattr(
        "attn.records.collect.run_folders_in", lambda path: there[path.name]
    )
    monkeypatch.setattr(
        "attn.records.collect.load_all",
        lambda path: [
            Run(path, identity(e), {}, Result(status="done", test={"accuracy": (1.0,)}))
            for e in there[path.name]
        ],
    )
    monkeypatch.setattr("attn.cli.training.train", None)  # nothing is missing
    asked = Reproducing(have=(str(tmp_path / "have"),), workdir=str(tmp_path / "work"))
    found, code = _runs("p", (dense, window), asked)
    assert (found[dense].name, found[window].name, code) == ("old", "new", 0)


def test_a_run_that_cannot_be_decoded_is_told_once_and_left(
    tmp_path, monkeypatch, capsys
):
    mine = experiment_of()
    config = identity(mine)
    model = {**config["model"], "kernel": {"is": "bygone"}}
    configs = {"bygone": {**config, "model": model}, "mine": config}
    done = Result(status="done", test={"accuracy": (1.0,)})
    runs = [Run(Path(name), of, {}, done) for name, of in configs.items()]
    monkeypatch.setattr("attn.records.collect.run_folders_in", lambda path: runs)
    monkeypatch.setattr("attn.records.collect.load_all", lambda path: runs)
    monkeypatch.setattr("attn.cli.training.train", lambda *_: 0)
    asked = Reproducing(have=(str(tmp_path),), workdir=str(tmp_path))
    missing = replace(mine, seeds=2)
    found, code = _runs("p", (mine, missing), asked)
    assert ([*found], code) == ([mine], 0)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("not compared: bygone: ")
    assert "model.kernel.is 'bygone'" in told


def test_one_table_of_a_paper_is_asked_for_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("attn.records.collect.load_all", LOADED)
    have = ["--have", str(COMMITTED.parent), "--workdir", str(tmp_path), "--json"]
    assert launch.main(["reproduce", "bhojanapalli2020", "--table", "head_size", *have]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert {one["table"] for one in found} == {"head_size"}
    assert launch.main(["reproduce", "bhojanapalli2020", "--table", "head_sizes"]) == 2
    said = "unknown table of bhojanapalli2020 'head_sizes'; did you mean 'head_size'?"
    assert said in capsys.readouterr().err


STEPS = {row: CompiledStep(experiment) for row, experiment in EXPERIMENTS.items()}
SIZES = {"a": 300, "b": 510, "d": 100}
PLANNED = {STEPS[row].key: Planned(size, "a compiler") for row, size in SIZES.items()}


def test_bytes_that_a_compiler_plans_have_an_order_and_ratios():
    memory = Reproduction(
        "p", "t", "PPL", STEPS, scale=0.1, higher_is_better=False, relative_to="a"
    )
    compared = compare(PAPER, [memory], {}, PLANNED)
    ours = {one.cell.row: one for one in compared if one.by}
    assert {one.verdict for one in ours.values()} == {"order only"}
    assert ours["b"].ours.mean == pytest.approx(51)
    (order,) = orders(compared)
    assert (order.agree, order.disagree, order.undecided) == (2, 1, 0)
    assert order.ratios == pytest.approx((2.0, 0.5))  # 51 : 30 over 25.5 : 30, and d
    assert "ratios to a 0.50 to 2.00 times the published (median 1.25)" in str(order)
    (table,) = tables(PAPER, compared)
    assert "bytes as planned by a compiler" in table.note


def test_a_step_that_has_changed_has_no_bytes_yet():
    trained, evaluated = (
        CompiledStep(EXPERIMENTS["a"]),
        CompiledStep(EXPERIMENTS["a"], backward=False),
    )
    assert trained.key != evaluated.key != CompiledStep(EXPERIMENTS["b"], False).key
    one = Reproduction("p", "t", "PPL", {"a": evaluated})
    found = {c.cell.row: c for c in compare(PAPER, [one], {}, PLANNED) if c.by}
    assert (found["a"].verdict, found["a"].ours) == ("not run", None)


def test_ratios_are_to_a_row_that_is_there():
    with pytest.raises(UserError, match="unknown row of p/t/PPL 'e'"):
        Reproduction("p", "t", "PPL", STEPS, relative_to="e")


def test_a_column_may_have_been_printed_with_fewer_places_than_one_of_its_numbers():
    rows = {"a": (0.51,), "b": (0.187,)}
    for digits, said in ({}, "differs"), ({"score": 2}, "exact"):
        table = replace(TABLE, columns=("score",), rows=rows, digits=digits)
        paper = replace(PAPER, tables=(table,))
        ours = Reproduction("p", "t", "score", {"a": lambda: 0.512})
        (one,) = (c for c in compare(paper, [ours], {}) if c.by)
        assert one.verdict == said


def test_a_missing_step_is_compiled_once_and_kept(tmp_path, monkeypatch):
    compiled = []

    def planned(step):
        compiled.append(step)
        return Planned(1000 * len(compiled), "a compiler")

    monkeypatch.setattr("attn.train.memory.planned", planned)
    words = ["reproduce", "xformers", "--workdir"]
    assert launch.main([*words, str(tmp_path / "one")]) == 0
    assert [step.experiment.task.seq_len for step in compiled] == [2048] * 4
    assert launch.main([*words, str(tmp_path / "one")]) == 0
    found = read_planned(tmp_path)
    assert [found[step.key].bytes for step in compiled] == [1000, 2000, 3000, 4000]
    have = ["--have", str(tmp_path / "one")]
    assert launch.main([*words, str(tmp_path / "two"), *have]) == 0
    assert len(compiled) == 4
    assert not (tmp_path / "two" / FILE).exists()
    (tmp_path / "one" / FILE).write_text('{"key": {"bytes": "many"}}')
    assert launch.main([*words, str(tmp_path / "one")]) == 2


def test_the_page_has_numbers_verdicts_and_what_differs_and_stays_offline(tmp_path):
    rows = {"a": lambda: 0.5, "b": EXPERIMENTS["b"]}
    _, compared = verdicts(rows, {"b": run_of(0.6, 0.61)}, differs="<b>smaller</b>")
    write_page(PAPER, compared, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for part in ("A paper", "<strong>exact</strong>", "sizes alone decide it", "0.50"):
        assert part in text
    assert "<li>score: &lt;b&gt;smaller&lt;/b&gt;" in text
    assert "5 more numbers of this table: not run" in text
    assert "http" not in text
    assert not re.search(r"\$[a-z]", text)  # every part of the page is filled in


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


def registered() -> tuple[dict[str, Paper], list[Reproduction]]:
    import experiments  # noqa: F401
    from attn.records.published import read_papers
    from attn.registry import papers, reproductions

    (folder,) = papers()
    known = read_papers(folder)
    return known, [one for name in known for one in reproductions(name)]


def test_every_reproduction_names_a_table_a_column_and_rows_that_are_published():
    known, every = registered()
    beside, exact = 0, 0
    for name, paper in known.items():
        ours = [one for one in every if one.paper == name]
        named = {(t.name, c): set(t.rows) for t in paper.tables for c in t.columns}
        for one in ours:
            assert set(one.rows) <= named[one.table, one.column], one.name
        found = [c for c in compare(paper, ours, {}) if c.by]
        assert len(found) == sum(len(one.rows) for one in ours), "a null is named"
        assert not any(c.cell.not_run for c in found), "it says why nothing is beside"
        beside += len(found)
        exact += sum(c.verdict == "exact" for c in found)
    assert (beside, exact) == (123, 33)


def test_an_interval_judges_only_what_was_trained_on_the_published_task_and_sizes():
    judged = [one for one in registered()[1] if one.experiments and not one.order_only]
    assert {one.name for one in judged} == {"h3/synthetic/Attention"}
    assert {one.differs for one in judged} == {
        "trained for fewer steps, at a higher rate, and without dropout"
    }


def test_a_setting_of_one_row_does_not_stand_on_the_others():
    arena = [one for one in registered()[1] if one.name.startswith("lra/accuracy/")]
    assert len(arena) == 5
    for one in arena:
        assert "padding" not in one.differs
        assert one.note.startswith("Linear Trans.: ")


def test_the_readme_counts_what_is_published_and_what_stands_beside_it():
    known, every = registered()
    numbers = sum(len(list(cells(paper))) for paper in known.values())
    beside = sum(len(one.rows) for one in every)
    root = Path(launch.__file__).parent
    readme = " ".join((root / "README.md").read_text().split())
    assert f"{numbers:,} numbers of {len(known)} papers. Beside {beside} of" in readme
    found = (root / "experiments/README.md").read_text()
    assert f"{beside} numbers of {numbers:,})" in found


@pytest.mark.parametrize(
    "path", sorted(COMMITTED.glob("*.md")), ids=lambda path: path.stem
)
def test_committed_comparisons_are_what_the_committed_runs_make(
    path, tmp_path, monkeypatch
):
    monkeypatch.delattr("attn.train.memory.planned")  # all that is compiled is there
    monkeypatch.setattr("attn.cli.training.train", None)  # and all that is trained
    monkeypatch.setattr("attn.records.collect.load_all", LOADED)
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


def test_caches_shrink_as_shared_keys_say(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch.main(shlex.split("reproduce ainslie2023 --table cache --json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(one["published"], one["ours"], one["verdict"]) for one in said] == [
        (8, 8.0, "exact"), (64, 64.0, "exact"), (16, 16.0, "exact"),
    ]  # fmt: skip
