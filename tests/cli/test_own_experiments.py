"""Experiments, mechanisms and tasks of a user's own file; an experiment as a file."""

import json
import shlex
from importlib.metadata import EntryPoint

import pytest

import launch
from attn import registry
from attn.config import from_json

STUDY = """
from dataclasses import dataclass, replace

from attn.config import Experiment, ModelConfig
from attn.kernels import Softmax
from attn.registry import Study, register
from attn.tasks import MQAR


@dataclass(frozen=True)
class Sharp(Softmax):
    '''Softmax attention at four times the scale.'''

    name = "sharp"


@dataclass(frozen=True)
class Short(MQAR):
    '''Recall of few pairs.'''

    name = "short"


mine = Experiment("mine", "It is mine.", Short(), ModelConfig(kernel=Sharp()))
register(Sharp, Short)
register(Study("ours", "They differ.", (mine, replace(mine, name="other")), 1))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, own_registry):
    """A working folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words, capsys):
    code = launch.main(shlex.split(words))
    return code, *capsys.readouterr()


def test_a_file_registers_experiments_mechanisms_and_tasks(here, capsys):
    (here / "my_study.py").write_text("from __future__ import annotations\n" + STUDY)
    code, out, _ = run("--experiments my_study.py show mine --json", capsys)
    (shown,) = json.loads(out)
    assert code == 0
    assert (shown["task"]["is"], shown["model"]["kernel"]["is"]) == ("short", "sharp")
    code, out, _ = run("list mechanisms", capsys)
    assert "Softmax attention at four times the scale." in out


def test_a_file_may_be_named_anywhere_on_the_line(here, capsys):
    (here / "my_study.py").write_text(STUDY)
    code, out, err = run(
        "show ours --experiments=my_study.py --kernel linear --json", capsys
    )
    assert code == 0
    assert "'ours': these words make mine, other the same experiment" in err
    assert [one["model"]["kernel"]["is"] for one in json.loads(out)] == ["linear"] * 2


def test_an_installed_package_registers_by_an_entry_point(monkeypatch):
    point = EntryPoint("p", "json:nothing_of_that_name", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(registry.UserError, match="entry point 'p'"):
        registry.load()


BROKEN = {
    "raise ValueError('no')": "broken.py:2: ValueError: no",
    "def x(:": "broken.py:2: SyntaxError",
    "from attn.registry import register, get; register(get('heads'))": (
        "broken.py:2: two experiments are called 'heads'"
    ),
    "from attn.kernels import Linear; from attn.registry import register; "
    "register(Linear)": "two mechanisms are called 'linear'",
    "import nothing_of_that_name": "broken.py:2: ModuleNotFoundError",
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_file_that_fails_is_named_with_its_own_line(here, capsys, code):
    (here / "broken.py").write_text("\n" + code)
    status, _, said = run("--experiments broken.py list", capsys)
    assert status == 2
    assert BROKEN[code] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list --experiments", "--experiments needs a file"),
        ("list --experiments none.py", "there is no such file"),
        ("list --experiments notes.txt", "it is not Python"),
        ("list mechanism", "did you mean 'mechanisms'"),
        ("show heads --save e.json", "--save takes one experiment"),
        ("show recall_softmax --save e.txt", "name it .json"),
        ("run none.json", "there is no such file"),
        ("show bad.json", "bad.json: the experiment has no name"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(here, capsys, words, said):
    (here / "notes.txt").touch()
    (here / "bad.json").write_text("{}")
    status, _, err = run(words, capsys)
    assert status == 2
    assert said in err


def test_an_experiment_is_saved_and_shown_again(here, capsys):
    words = (
        "show recall_softmax --optimizer lion --train.optimizer.b1 0.8 --save e.json"
    )
    assert run(words, capsys)[0] == 0
    saved = from_json(
        {k: v for k, v in read(here / "e.json").items() if k != "fingerprint"}
    )
    assert (saved.train.optimizer.name, saved.train.optimizer.b1) == ("lion", 0.8)
    (shown,) = json.loads(run("show e.json --schedule wsd --json", capsys)[1])
    assert shown["train"]["optimizer"]["b1"] == 0.8
    assert shown["train"]["schedule"]["is"] == "wsd"


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("what", ["mechanisms", "tasks", "optimizers", "schedules"])
def test_everything_that_may_be_named_is_listed_with_a_sentence(capsys, what):
    code, out, _ = run(f"list {what}", capsys)
    assert code == 0
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in out.splitlines())


def test_the_version_is_said(capsys):
    assert run("--version", capsys)[1] == "attn 0.1.0\n"
