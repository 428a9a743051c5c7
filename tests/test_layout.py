"""The house holds: imports point downward, and reading a config starts nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = {
    "errors": 0,
    "compiler": 1,
    "device": 1,
    "masks": 1,
    "positions": 1,
    "parallel": 2,
    "kernels": 2,
    "attention": 3,
    "tasks": 3,
    "config": 4,
    "data": 4,
    "model": 5,
    "records": 5,
    "train": 6,
    "plots": 6,
    "report": 7,
    "bench": 8,
    "inspect": 8,
    "cli": 9,
}
"""Every room of `attn`; a module may import rooms on its own level or below."""


def imports(path: Path):
    """Every absolute module name that a file imports, also lazily."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "attn").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files("attn"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    if room(path) == "__init__":
        return
    for name in imports(path):
        head, _, rest = name.partition(".")
        assert head not in ("experiments", "launch", "tests"), name
        if head == "attn" and rest:
            there = rest.split(".")[0]
            if there in LEVELS:
                assert LEVELS[there] <= LEVELS[room(path)], (
                    f"{path.name} imports {name}"
                )


def test_every_room_has_a_level():
    rooms = {room(path) for path in files("attn")} - {"__init__"}
    assert rooms == set(LEVELS)


def test_experiments_never_import_training():
    for path in files("experiments"):
        for name in imports(path):
            assert not name.startswith(("attn.train", "attn.model", "attn.report")), (
                name
            )


@pytest.mark.slow
def test_listing_starts_no_device_and_loads_no_trainer():
    code = (
        "import sys, experiments, attn.cli.listing, attn.cli.options\n"
        "import jax._src.xla_bridge as bridge\n"
        "heavy = {'flax', 'optax', 'orbax', 'grain', 'tensorflow_datasets', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), bridge.backends_are_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[] False"
