"""Seals: a JSON file beside a folder that tells whether a byte of it has changed."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.records.files import read_json, write_json


def write_seal(seal: Path, folder: Path, *, without: Collection[str], notes: Mapping):
    """Hashes the files of `folder` into `seal`, with `notes`, and hashes that too.

    Args:
      seal: the file to write, atomically.
      folder: the folder to seal, with its subfolders.
      without: files, relative to `folder`, that are not ready to be sealed.
      notes: JSON values to keep in the seal, under `notes`.
    """
    files = {
        name: _sha256(path)
        for name, path in _files(folder).items()
        if name not in without
    }
    _write(seal, {"files": files, "notes": dict(notes)})


def extend_seal(seal: Path, folder: Path, names: Collection[str]) -> None:
    """Adds the files `names` of `folder` to a seal."""
    values = _read(seal)
    values["files"] |= {name: _sha256(folder / name) for name in names}
    _write(seal, values)


def broken_seal(seal: Path, folder: Path, *, optional: Collection[str]) -> str | None:
    """What is wrong with `folder`, in words that name the file; None when nothing is.

    Args:
      optional: files that may be there without being sealed.
    """
    if not seal.exists():
        return "it is not sealed, so its bytes cannot be checked"
    try:
        sealed, found = _read(seal)["files"], _files(folder)
        for name in sorted(sealed.keys() - found.keys()):
            return f"{name} is missing"
        for name in sorted(found.keys() - sealed.keys() - set(optional)):
            return f"{name} does not belong to it"
        for name, digest in sealed.items():
            if _sha256(found[name]) != digest:
                return f"{name} is damaged"
    except UserError:
        return f"its seal {seal.name} is damaged"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def notes_of(seal: Path) -> dict[str, Any]:
    """The notes of a seal that is not broken."""
    return _read(seal)["notes"]


def _read(seal: Path) -> dict[str, Any]:
    values = read_json(seal) or {}
    if values.pop("sha256", None) != _sha256_of(values):
        raise UserError(f"{seal} is damaged")
    return values


def _write(seal: Path, values: dict[str, Any]) -> None:
    seal.parent.mkdir(parents=True, exist_ok=True)
    write_json(seal, values | {"sha256": _sha256_of(values)})


def _files(folder: Path) -> dict[str, Path]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
