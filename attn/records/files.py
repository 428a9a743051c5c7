"""Atomic writes of small files, whole or not at all even across a power failure."""

import json
import os
import re
from pathlib import Path
from typing import Any

from attn.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, text + "\n")


def read_bytes(path: Path) -> bytes | None:
    """Reads a file; None if there is none, UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); make it a file that can, or "
            "move it away"
        ) from None


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads the object in `path`; None if there is no file, UserError if damaged.

    So it is where the file cannot be read.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged; run the experiment again")
    return value


def read_json_or_none(path: Path) -> dict[str, Any] | None:
    """Reads the object in `path`; None if there is no file, or it is damaged."""
    try:
        return read_json(path)
    except UserError:
        return None


def disk_reason(error: BaseException | None) -> str | None:
    """The disk error behind an exception, in words; None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return os.strerror(error.errno)
        # TensorStore: "Failed to write ...: No space left on device [os_error_code='28']".
        found = re.search(r"os[ _]error(?:_code=')? ?(\d+)", str(error), re.IGNORECASE)
        if found:
            return os.strerror(int(found[1]))
        error = error.__cause__ or error.__context__
    return None
