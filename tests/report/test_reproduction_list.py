"""The list of papers says what of each can be reproduced here, and what must be fetched."""

import json
import shlex

import pytest

import launch
from attn.records.published import Paper
from attn.report.reproductions import Listed, as_lines

MISSING = "fashion-mnist spam-assassin state-of-the-union"


def said(words: str, capsys) -> str:
    assert launch.main(shlex.split(words)) == 0
    return capsys.readouterr().out


def test_papers_are_listed_and_an_unknown_one_offers_the_nearest(capsys):
    listed = said("reproduce", capsys)
    assert "Attention Is All You Need (2017), arXiv 1706.03762" in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert launch.main(["reproduce", "vaswani"]) == 2
    assert "did you mean 'vaswani2017'?" in capsys.readouterr().err


def test_the_list_names_the_data_packages_that_are_not_here(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    lines = said("reproduce", capsys).splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("lra "))
    assert lines[at + 1] == f"  needs data: fetch {MISSING}"
    assert sum("needs data" in line for line in lines) == 1
    assert max(map(len, lines)) <= 80


def test_a_package_that_is_here_is_not_named(capsys, tiny_packages):
    assert "  needs data: fetch state-of-the-union\n" in said("reproduce", capsys)


def test_a_damaged_package_must_be_fetched_again(capsys, tiny_packages, request):
    from attn.tasks.packages import PACKAGES

    path = tiny_packages / PACKAGES["fashion-mnist"].file
    whole = path.read_bytes()  # other tests read this file, too
    path.write_bytes(b"cut")
    request.addfinalizer(lambda: path.write_bytes(whole))
    found = said("reproduce", capsys)
    assert "  needs data: fetch fashion-mnist state-of-the-union\n" in found


def test_the_list_is_json_too(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    papers = {one["paper"]: one for one in json.loads(said("reproduce --json", capsys))}
    assert papers["h3"] == {
        "paper": "h3",
        "title": "Hungry Hungry Hippos: Towards Language Modeling with State Space Models",
        "year": 2022,
        "source": "arXiv 2212.14052",
        "numbers": 10,
        "beside": 2,
        "minutes": 3,
        "fetch": [],
    }
    assert papers["lra"]["fetch"] == MISSING.split()
    assert papers["deltaproduct"]["beside"] == 0


@pytest.mark.parametrize("option", ["--have x", "--table t", "--json --table t"])
def test_an_option_of_one_paper_asks_for_it(option, capsys):
    assert launch.main(["reproduce", *option.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"reproduce {option} needs a paper; name one, as in reproduce h3" in line


def test_a_paper_that_cannot_be_run_here_says_why(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "reproduce deltaproduct --workdir out"
    assert "several Householder steps" in " ".join(said(words, capsys).split())
    text = (tmp_path / "out/deltaproduct.md").read_text()
    assert "5 not run; no mechanism here takes several Householder steps" in text
    (one, *_) = json.loads(said("reproduce deltaproduct --json", capsys))
    assert one["not_run"].startswith("no mechanism here takes")


def test_a_name_of_a_package_is_never_cut_at_its_hyphen():
    paper = Paper("p", "A paper", "Some", 2020, "arXiv 0", ())
    lines = as_lines([Listed(paper, 1, 1, 0, ("bible-alignments",) * 9)])
    assert "\n".join(lines).count("bible-alignments") == 9
    assert max(map(len, lines)) <= 80
