"""What the README shows is what the project does."""

import re
from pathlib import Path

import jax
import pytest
from tiny import exhaustive

from attn.errors import UserError
from attn.pretrained import fetched

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def test_the_table_is_the_one_that_the_committed_results_make():
    from attn.plots.results import CAPTION, make_tables
    from attn.plots.tables import to_markdown
    from attn.records.collect import load_all

    runs = load_all(ROOT / "experiments" / "results" / "families")
    shown = README.split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    assert shown.strip() == to_markdown(make_tables(runs), after=[CAPTION]).strip()


@pytest.mark.parametrize("number", [*range(5), exhaustive(5)])
def test_the_library_examples_run(number, monkeypatch, own_registry):
    monkeypatch.chdir(ROOT)
    text = blocks("python")[number]
    if "fetched(" in text:
        try:
            fetched("smollm2")
        except UserError as absent:
            pytest.skip(str(absent))
    # Traced, since each operation that is run alone is a program to compile.
    jax.eval_shape(lambda: exec(compile(text, "README.md", "exec"), {}))


def test_every_library_example_is_run():
    assert len(blocks("python")) == 6


def test_the_two_commands_come_first_and_stand_alone():
    install, tests = blocks("sh")
    assert "launch.py compare" in install
    assert "pytest" in tests
    assert all(
        command.startswith("python3 -m venv .venv") for command in (install, tests)
    )


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("*.md"), *(ROOT / "experiments").glob("*.md")],
    ids=lambda page: page.name,
)
def test_every_link_within_the_project_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    own = [link for link in links if not link.startswith("http")]
    assert [link for link in own if not (page.parent / link).exists()] == []
