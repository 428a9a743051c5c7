"""The certificate of a kept audit stands beside the table, on the page and off it."""

import json
import shlex

import pytest
from run_folders import edit

import launch
from attn.plots.audits import command
from attn.plots.results import make_tables
from attn.records.collect import load_all
from attn.report import write_report

DATA = "ab" * 32
AUDIT = {
    "task": {"is": "mqar", "seq_len": 64},
    "data": DATA,
    "solvers": {"majority": 0.02, "token read": 0.371, "position": 0.1},
    "environment": {"git_commit": "0123456789abcdef0123"},
}
FOUND = "Shortcuts: token read finds 37.1 % of answers (audit mqar)."
NONE = "Shortcuts: not audited; python launch.py audit mqar"


def keep(folder, /, name="any.json", **changed):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(AUDIT | changed))


def lines(tmp_path):
    (table,) = make_tables(load_all(tmp_path / "runs"))
    return table.note.splitlines()


def test_table_and_page_name_the_best_solver_of_an_audit(tmp_path, make_run):
    make_run("softmax", task="mqar")
    runs = load_all(tmp_path / "runs")
    for said in (NONE, FOUND):
        written = write_report(runs, tmp_path / "out", "runs")
        for path in (written.table, written.page):
            assert path.read_text().count(said) == 1
        keep(tmp_path / "runs" / "audits")


@pytest.mark.parametrize("beside", ["runs/audits", "audits"])
def test_an_audit_lies_beside_the_run_or_beside_its_study(tmp_path, make_run, beside):
    make_run("softmax")
    keep(tmp_path / beside)
    assert FOUND in lines(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"data": "cd" * 32},
        {"task": {"is": "induction"}},
        {"solvers": {}},
        {"solvers": {"majority": "most"}},
        {"solvers": None},
        {"task": None},
    ],
)
def test_another_task_other_data_and_damage_are_no_audit(tmp_path, make_run, changed):
    make_run("softmax")
    keep(tmp_path / "runs" / "audits", **changed)
    (tmp_path / "runs" / "audits" / "cut.json").write_text('{"task": {"is": "mq')
    assert NONE in lines(tmp_path)


def test_runs_of_data_that_are_not_known_are_not_audited(tmp_path, make_run):
    edit(make_run("softmax"), "result", dataset=None)
    keep(tmp_path / "runs" / "audits")
    assert NONE in lines(tmp_path)


def test_where_the_metric_is_another_the_audit_is_of_tokens(tmp_path, make_run):
    make_run("softmax", task="pydoc", metric="bits_per_byte", seq_len=32)
    keep(tmp_path / "runs" / "audits", task={"is": "pydoc"})
    said = (
        "Shortcuts: token read finds 37.1 % of tokens (audit pydoc --task.seq-len 32)."
    )
    assert said in lines(tmp_path)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"is": "mqar"}, "audit mqar"),
        ({"is": "mqar", "num_pairs": 8, "pairs": 3}, "audit mqar --task.num-pairs 8"),
        (
            {
                "is": "text",
                "data": "/home/me/a book.txt",
                "sha256": "ab",
                "seq_len": 32,
            },
            "audit 'text:a book.txt' --task.seq-len 32",
        ),
        ({"is": "tfds", "data": "mnist", "grey": True}, "audit tfds:mnist --task.grey"),
    ],
)
def test_the_command_is_of_exactly_the_task(task, said):
    assert command(task) == said


def test_a_task_that_is_not_here_is_told_no_command(tmp_path, make_run):
    edit(make_run("softmax"), "config", task={"is": "mine", "seq_len": 3})
    assert not any("Shortcuts" in line for line in lines(tmp_path))


def test_the_command_that_a_table_names_makes_its_certificate(
    tmp_path, make_run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    small = {"num_train": 256, "num_valid": 64, "num_test": 64}
    folder = make_run("softmax")
    task = {"is": "induction", "data_seed": 0, "seq_len": 31, "vocab_size": 20, **small}
    edit(folder, "config", task=task)
    (said,) = [line for line in lines(tmp_path) if line.startswith("Shortcuts")]
    _, _, words = said.partition("python launch.py ")
    assert launch.main(shlex.split(words)) == 0
    (kept,) = (tmp_path / "runs" / "audits").glob("*.json")
    audit = json.loads(kept.read_text())
    assert {name: audit["task"][name] for name in task} == task
    edit(folder, "result", dataset={"builder": "x", "sha256": audit["data"]})
    best, accuracy = max(audit["solvers"].items(), key=lambda item: item[1])
    found = f"Shortcuts: {best} finds {100 * accuracy:.1f} % of answers ({words})."
    assert found in lines(tmp_path)
