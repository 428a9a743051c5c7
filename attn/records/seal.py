"""Seals: JSON with checksums of a folder's files, and of itself."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.records.files import read_json, write_json


def write_seal(seal: Path, folder: Path, *, without: Collection[str], notes: Mapping):
    """Hashes the files of `folder` into `seal`, with `notes`, and signs it.

    Args:
      seal: the file to write, atomically.
      folder: the folder to seal, with its subfolders.
      without: files, relative to `folder`, that are not ready to be sealed.
      notes: JSON values to keep in the seal, under `notes`.
    """
    files = {
        name: digest(path)
        for name, path in _files(folder).items()
        if name not in without
    }
    _write(seal, {"files": files, "notes": dict(notes)})


def extend_seal(seal: Path, folder: Path, names: Collection[str]) -> None:
    """Adds the files `names` of `folder` to a seal."""
    values = _read(seal)
    values["files"] |= {name: digest(folder / name) for name in names}
    _write(seal, values)


def broken_seal(seal: Path, folder: Path, *, optional: Collection[str]) -> str | None:
    """Describes the damage to `folder` and names the file; None if undamaged.

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
        for name, known in sealed.items():
            if digest(found[name]) != known:
                return f"{name} is damaged"
    except UserError:
        return f"its seal {seal.name} is damaged"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def notes_of(seal: Path) -> dict[str, Any]:
    """The notes of an unbroken seal."""
    return _read(seal)["notes"]


def _read(seal: Path) -> dict[str, Any]:
    values = read_json(seal) or {}
    if not is_signed(values):
        raise UserError(f"{seal} is damaged")
    return values


def _write(seal: Path, values: dict[str, Any]) -> None:
    seal.parent.mkdir(parents=True, exist_ok=True)
    write_json(seal, signed(values))


def _files(folder: Path) -> dict[str, Path]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def digest(path: Path) -> str:
    """Computes the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the SHA-256 of JSON values to them."""
    values = {key: value for key, value in values.items() if key != "sha256"}
    text = json.dumps(values, sort_keys=True)
    return values | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def is_signed(values: Mapping[str, Any]) -> bool:
    """Whether values match the hash that `signed` added."""
    return signed(values) == values
