"""What `audit` keeps: tables, and a certificate that says what made it."""

import json
import shlex

import pytest

import launch

SMALL = "--task.num-train 256 --task.num-valid 64 --task.num-test 64"
NAME = "induction-num_train=256-num_valid=64-num_test=64"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with datasets of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def do(words: str) -> None:
    assert launch.main(shlex.split(words)) == 0, words


def test_an_audit_is_kept_where_reports_of_runs_look_for_it(here):
    do(f"audit induction {SMALL}")
    kept = here / "runs" / "audits"
    assert {path.name for path in kept.iterdir()} == {
        f"{NAME}.{ending}" for ending in ("md", "csv", "tex", "json")
    }


def test_the_certificate_says_task_data_solvers_and_what_made_it(here, capsys):
    do(f"audit induction {SMALL} --json --workdir kept")
    said = json.loads(capsys.readouterr().out)
    audit = json.loads((here / "kept" / f"{NAME}.json").read_text())
    assert audit["task"]["is"] == said.pop("task") == "induction"
    assert audit["task"]["num_train"] == 256
    assert audit["data"] == said.pop("data")
    assert said.items() < audit["solvers"].items()
    assert "chance (its own)" in audit["solvers"]
    assert not any("knows the rule" in name for name in audit["solvers"])
    assert {"git_commit", "git_dirty", "numpy", "cpu"} < set(audit["environment"])
    table = (here / "kept" / f"{NAME}.md").read_text()
    commit = audit["environment"]["git_commit"]
    assert f"commit {commit[:10] if commit else 'unknown'}" in table
    assert f"data {audit['data'][:12]}" in table


def test_files_of_a_task_of_many_knobs_have_names_that_any_disk_takes(here):
    folder = here / ("deep" * 40) / ("er" * 40)
    folder.mkdir(parents=True)
    (folder / "own.txt").write_text("the quick brown fox jumps over the dog. " * 400)
    do(f"audit text:{folder / 'own.txt'} --task.seq-len 32")
    (kept,) = (here / "runs" / "audits").glob("*.json")
    assert len(kept.name.encode()) < 250
