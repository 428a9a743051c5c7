"""The command `plan`: options that it does not use, and the platform that it compiles on."""

import os

import pytest

import launch
from attn.cli import planning
from attn.errors import UserError


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in planning.SETTINGS:
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "recall_softmax --on cpu:8 --nprocs 2",
            "plan does not use --nprocs; leave it",
        ),
        ("recall_softmax --on cpu:8 --log wandb", "plan does not use --log; leave it"),
        ("--support --on nonsense --sweep", "leave out --sweep --on nonsense"),
        ("recall_softmax --support --json", "leave out recall_softmax$"),
    ],
)
def test_an_option_that_plan_does_not_use_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        planning.plan(words.split(), lambda: launch.load([]))


def test_the_platform_of_a_machine_is_not_that_of_its_plans():
    with pytest.raises(UserError):
        planning.plan(["--support", "x"], lambda: launch.load([]))
    assert os.environ["JAX_PLATFORMS"] == "cpu"
