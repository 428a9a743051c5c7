"""Folders that commands go on in: those with what they made, and no others."""

import pytest

from attn.cli.folders import check_made, check_study, workdir
from attn.cli.reproducing import MADE
from attn.errors import UserError

OURS = [
    [],
    [".lock"],
    ["notes.txt", "compiled.json"],
    ["notes.txt", "runs/recall/config.json"],
    ["notes.txt", "recall/config.json"],
    ["h3.csv", "h3.md", "h3.tex"],
]
FOREIGN = [["notes.txt"], ["a.csv", "b.md", "b.tex"], ["runs/notes.txt"]]


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("names", OURS, ids=" ".join)
def test_a_command_goes_on_among_what_it_made(tmp_path, names):
    check_made(tmp_path / "new", "reproduce", *MADE)
    fill(tmp_path, names)
    check_made(tmp_path, "reproduce", *MADE)


@pytest.mark.parametrize("names", FOREIGN, ids=" ".join)
def test_a_command_makes_nothing_among_files_of_others(tmp_path, names):
    fill(tmp_path, names)
    with pytest.raises(UserError, match="nothing that reproduce makes; choose another"):
        check_made(tmp_path, "reproduce", *MADE)


def test_a_config_of_another_program_is_no_run(tmp_path):
    fill(tmp_path, ["theirs/config.json"])
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="holds 'theirs' and nothing that reproduce"):
        check_made(tmp_path, "reproduce", *MADE)
    for folder, name in ((tmp_path, "theirs"), (tmp_path / "theirs", "config.json")):
        with pytest.raises(UserError, match=f"holds '{name}' and no run of 'heads'"):
            check_study(folder, "heads", ["heads_2"])


def test_the_default_folder_is_checked_as_a_given_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(workdir(None, "audits")) == "runs/audits"
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match="runs is a file"):
        workdir(None, "audits")
