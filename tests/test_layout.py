"""The layout of the code: which room imports what, and that docstrings read."""

import ast
import subprocess
import sys
from functools import cache
from importlib import import_module
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
    "objectives": 3,
    "tasks": 3,
    "config": 4,
    "pretrained": 6,
    "registry": 5,
    "data": 4,
    "model": 5,
    "records": 6,
    "train": 6,
    "plots": 6,
    "plan": 7,
    "report": 7,
    "bench": 8,
    "inspect": 8,
    "cli": 9,
}
"""Every room of `attn`; a module may import rooms on its own level or below."""

STRANGERS = {
    "kernels": {"parallel"},
    "tasks": {"attention", "kernels"},
}
"""Rooms that a room does not know, though no arrow would point up."""

MAY_IMPORT = {
    "jax": (
        "attention bench device.py inspect kernels model objectives parallel plan "
        "positions.py pretrained train"
    ),
    "flax": "model plan/parts.py pretrained train",
    "optax": "train pretrained/uptraining.py",
    "orbax": "train/checkpoint",
    "matplotlib": "plots bench/plot.py inspect/draw.py",
    "PIL": "plots",
    "rich": "bench cli plots",
    "tyro": "cli",
    "grain": "",
    "tensorflow_datasets": "",
    "array_record": "",
    "sklearn": "",
    "torch": "",
    "safetensors": "",
    "tokenizers": "",
    "gguf": "",
    "tokamax": "",
    "submitit": "",
    "ray": "",
}
"""Where a package may be imported at the top of a module; elsewhere only in a function."""

MASKS_NEED = {"numpy", "jax", "jaxtyping"}
"""Everything outside the standard library that `attn.masks` may import, also lazily."""

NO_SENTENCE = set(
    "After Among Around As At Before Beside Between Beyond By Called For From How If In "
    "Inside Into Its Likewise Of On Our Over Per Since To Under What When Where Which "
    "While Who Whoever Whose Why With Without".split()
)
"""Words that begin a fragment: a docstring starts with a verb or a noun."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(nodes):
    """The line and absolute name of every import among nodes of a syntax tree."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def imports(path: Path):
    """Every absolute module name that a file imports, also lazily."""
    return (name for _, name in imported(ast.walk(tree(path))))


@cache
def top_packages(path: Path) -> set[str]:
    """The packages that a file loads as it is imported itself."""
    nodes = []
    waiting = list(tree(path).body)
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return {name.split(".")[0] for _, name in imported(nodes)}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file of `attn`, or the name of a folder or file beside `attn`."""
    parts = path.relative_to(ROOT).parts
    return parts[parts[0] == "attn"].removesuffix(".py")


def points_upward(here: str, name: str) -> bool:
    """Whether a room imports what lies above it, or beside the package."""
    head, *rest = name.split(".")
    above = head == "attn" and rest and LEVELS.get(rest[0], 0) > LEVELS[here]
    return head in ("experiments", "launch", "tests") or bool(above)


def test_imports_point_downward():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files("attn")
        if room(path) != "__init__"
        for line, name in imported(ast.walk(tree(path)))
        if points_upward(room(path), name)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_level():
    rooms = {room(path) for path in files("attn")} - {"__init__"}
    assert rooms == set(LEVELS)


@pytest.mark.parametrize("here", STRANGERS)
def test_rooms_that_are_strangers_do_not_meet(here):
    for path in files(f"attn/{here}"):
        met = {name.split(".")[1] for name in imports(path) if name.startswith("attn.")}
        assert not met & STRANGERS[here], path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_heavy_package_is_imported_in_its_rooms_alone(package):
    allowed = tuple(f"attn/{where}" for where in MAY_IMPORT[package].split())
    for path in files("attn"):
        if package in top_packages(path):
            assert path.relative_to(ROOT).as_posix().startswith(allowed or ("-",)), path


def test_masks_need_numpy_and_jax_alone():
    for path in files("attn/masks"):
        names = {name.split(".")[0] for name in imports(path)}
        assert names - sys.stdlib_module_names <= MASKS_NEED | {"attn"}, path


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def why_unusable(name: str) -> str | None:
    """Tells what a module lacks, to be imported or of what it exports."""
    try:
        module = import_module(name)
    except Exception as error:
        return f"{name} cannot be imported: {error!r}"
    missing = [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)]
    return f"{name}.__all__ names what is not there: {missing}" if missing else None


def test_every_module_imports_without_extras_and_has_what_it_exports():
    told = [why_unusable(module_name(path)) for path in files("attn")]
    wrong = [why for why in told if why]
    assert not wrong, "\n".join(wrong)


def docstrings(path: Path):
    """The line, name and docstring of a module, its classes and its functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            name = getattr(node, "name", "module")
            yield getattr(node, "lineno", 1), name, ast.get_docstring(node)


def why_unreadable(name: str, text: str | None) -> str | None:
    """Tells what is wrong with the first line of a docstring; None where nothing is."""
    if text is None:
        public_class = name[0].isupper()
        return "has no docstring" if name == "module" or public_class else None
    first = text.partition("\n")[0]
    if not first.endswith((".", ":")):
        return f"does not end its sentence on the first line: {first!r}"
    if first.split()[0].strip(".,:") in NO_SENTENCE:
        return f"begins with a fragment: {first!r}"
    return None


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("module", None, "has no docstring"),
        ("Mask", None, "has no docstring"),
        ("_inside", None, None),
        ("rotary", "Turns pairs by their position.\n\nMore.", None),
        ("rotary", "Turns pairs by\ntheir position.", "on the first line"),
        ("cover", "Of one of its groups.", "fragment"),
        ("cover", "Likewise, of columns.", "fragment"),
    ],
)
def test_a_docstring_that_is_no_sentence_is_told(name, text, why):
    found = why_unreadable(name, text)
    assert (found is None) if why is None else (why in found)


def test_docstrings_begin_with_a_sentence():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name} {why}"
        for path in (*files("attn"), *files("experiments"), ROOT / "launch.py")
        for line, name, text in docstrings(path)
        if (why := why_unreadable(name, text))
    ]
    assert not wrong, "\n".join(wrong)


def test_experiments_never_import_training():
    for path in files("experiments"):
        for name in imports(path):
            assert not name.startswith(("attn.train", "attn.model", "attn.report")), (
                name
            )


@pytest.mark.slow
def test_listing_starts_no_device_and_loads_no_trainer():
    code = (
        "import sys, experiments, attn.attention, attn.cli.listing, attn.cli.parsing\n"
        "import jax._src.xla_bridge as bridge\n"
        "heavy = {'flax', 'optax', 'orbax', 'grain', 'tensorflow_datasets', 'matplotlib',"
        " 'jax._src.pallas'}\n"
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
