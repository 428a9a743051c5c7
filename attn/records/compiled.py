"""Bytes that compilers plan, in one small file, since a program takes seconds to compile.

    compiled.json   {"KEY": {"bytes": 853215744, "by": "jaxlib 0.10.2 for cpu"}}

A key is that of a `CompiledStep`: a step that has changed has no number yet.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attn.config import typed
from attn.errors import UserError
from attn.records.files import read_json, write_json

FILE = "compiled.json"


@dataclass(frozen=True)
class Planned:
    """Bytes that a program holds at once, and the compiler that says so."""

    bytes: int
    by: str


def read_planned(*folders: Path) -> dict[str, Planned]:
    """Reads the bytes of all steps in some folders, at any depth, by their keys.

    Raises:
        UserError: a file is damaged.
    """
    found: dict[str, Planned] = {}
    for folder in folders:
        for place, inner, files in os.walk(folder):
            inner.sort()
            if FILE in files:
                found |= _read(Path(place, FILE))
    return found


def _read(path: Path) -> dict[str, Planned]:
    try:
        values = (read_json(path) or {}).items()
        return {k: typed.decode(Planned, v, strict=True, name=k) for k, v in values}
    except (typed.Wrong, UserError):
        raise UserError(
            f"{path} is damaged; remove it, and what it held is compiled again"
        ) from None


def write_planned(folder: Path, planned: Mapping[str, Planned]) -> None:
    """Adds the bytes of steps to those in a folder's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    write_json(path, typed.encode(_read(path) | dict(planned)))
