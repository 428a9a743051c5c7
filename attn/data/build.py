"""A task's data on disk and back: rows as a TFDS dataset, long sequences as they are.

    data_dir / task / config / version /    files  SHA256SUMS

A dataset is built beside its final path and renamed to it, whole and with checksums, so
a folder that is there is complete; it is compared with its sums at every load.
"""

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from attn.data import rows, streams
from attn.errors import UserError
from attn.tasks.base import Dataset, Streamed, Task
from attn.tasks.packages import default_data_dir

SUMS = "SHA256SUMS"
STALE_AFTER_S = 3600
"""The age in seconds at which an unfinished build counts as abandoned."""


def prepare(
    task: Task,
    data_dir: Path | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Loads a task's splits, building them first where they are not on disk.

    Rows come as int32 and float32 arrays. `say` is told of a build before it begins. Several
    processes may prepare the same task at once: the first to finish wins.

    Raises:
      UserError: the files are damaged, the folder cannot be written, or the task needs
        a package that is missing.
    """
    root = default_data_dir() if data_dir is None else data_dir
    folder = root / task.name / task.slug / task.version
    try:
        if not folder.exists():
            if say is not None:
                say(f"building {task.name} once, into {folder}")
            if task.resolved() != task:
                raise UserError(
                    f"{task.name} is not known by its content; use task.resolved()"
                )
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder.parent)
            _build(task, folder)
            if say is not None and (remark := task.remark()):
                say(remark)
    except OSError as error:
        raise UserError(
            f"cannot keep datasets in {root}: {error}; make room there, or set "
            "ATTN_DATA_DIR to a folder that can be written"
        ) from error
    return _load(task, folder)


def _build(task: Task, folder: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="incomplete.", dir=folder.parent))
    try:
        built = _format(task).write(task, temporary)
        (built / SUMS).write_bytes(_sums(built))
        try:
            built.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first: its rows are ours
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(task: Task, folder: Path) -> Dataset:
    """Reads all splits of a folder that matches its sums."""
    try:
        if (folder / SUMS).read_bytes() != _sums(folder):
            raise ValueError(f"its files do not match {SUMS}")
        splits, sha256 = _format(task).read(task, folder)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"dataset {folder} is damaged ({reason}); delete that folder and run again: "
            "it is rebuilt"
        ) from error
    return Dataset(splits, sha256, f"{task.name}/{task.slug}/{task.version}")


def _format(task: Task) -> ModuleType:
    """The module that writes and reads the data of a task."""
    return streams if isinstance(task, Streamed) else rows


def _sums(folder: Path) -> bytes:
    """Lists every file of a folder but the sums themselves, as `sha256sum` does."""
    paths = sorted(path for path in folder.iterdir() if path.name != SUMS)
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(digests, paths)]
    return "".join(lines).encode()


def _sweep(parent: Path) -> None:
    """Removes files that interrupted builds left behind."""
    for path in parent.glob("incomplete.*"):
        with contextlib.suppress(FileNotFoundError):  # its own process is at work
            newest = max(one.stat().st_mtime for one in (path, *path.rglob("*")))
            if time.time() - newest > STALE_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)
