"""Text that every Python has: its reference and the source of its standard library.

`pydoc` is the reference, as in `help()` (`attn.tasks.pydoc`), 0.5 MB of English. `stdlib`
is the source of the standard library, 9.6 MB in Python 3.11, without tests, that reference,
and packages that some systems leave out; a file is whole in one split, by the hash of its
content, but files share phrases, as those of licences.
"""

import ast
import platform
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from attn.tasks.base import SPLITS, split_by_hash
from attn.tasks.pydoc import BETWEEN, split_texts

Corpus = Literal["pydoc", "stdlib"]
CORPORA: tuple[Corpus, ...] = ("pydoc", "stdlib")
LEFT_OUT = set(
    "test tests site-packages dist-packages idlelib lib2to3 turtledemo ensurepip "
    "__pycache__ distutils pydoc_data".split()
)
HELD_OUT = 0.05


def version() -> str:
    """The version of Python that the texts belong to."""
    return f"python-{platform.python_version()}"


def texts(corpus: Corpus) -> Mapping[str, bytes]:
    """The text of each split of a corpus."""
    return split_texts() if corpus == "pydoc" else _split_sources()


@lru_cache(maxsize=1)
def _split_sources() -> dict[str, bytes]:
    found: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for text in sources():
        found[split_by_hash(text, 0, HELD_OUT)].append(text)
    return {split: BETWEEN.join(own) for split, own in found.items()}


@lru_cache(maxsize=1)
def sources() -> tuple[bytes, ...]:
    """The files of the standard library in order of their paths, each content once."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not LEFT_OUT & {*path.relative_to(root).parts}
    ]
    found = {path.read_bytes(): None for path in paths}
    return tuple(text for text in found if text.strip())


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions() -> Iterator[ast.AST]:
    """Yields all nodes of the syntax trees of the standard library, in order."""
    for text in sources():
        yield from ast.walk(ast.parse(text))


@lru_cache(maxsize=1)
def docstrings() -> tuple[str, ...]:
    """The docstrings of modules, classes and functions, each once, without indents."""
    found = (
        ast.get_docstring(node)
        for node in definitions()
        if isinstance(node, Documented)
    )
    return tuple({text: None for text in found if text})


@lru_cache(maxsize=1)
def signatures() -> tuple[tuple[str, dict[str, str]], ...]:
    """The signatures of functions, each once, and the defaults of their parameters."""
    found = {}
    for node in definitions():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = node.args
            places = [*own.posonlyargs, *own.args]
            given = [*zip(places[len(places) - len(own.defaults) :], own.defaults)]
            given += [(a, d) for a, d in zip(own.kwonlyargs, own.kw_defaults) if d]
            text = f"{node.name}({ast.unparse(own)})"
            found[text] = {name.arg: ast.unparse(value) for name, value in given}
    return tuple(found.items())
