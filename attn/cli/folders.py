"""Folders named on the command line, checked before anything is written."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attn.config import Experiment
from attn.errors import UserError
from attn.records.files import read_json_or_none
from attn.records.folder import RunFolder
from attn.records.seeds import remaining


def workdir(text: str | None, name: str) -> Path:
    """The folder that --workdir names; `runs/NAME` by default."""
    return folder("--workdir", f"runs/{name}" if text is None else text)


def folder(option: str, text: str, *, file: bool = False) -> Path:
    """The path that an option names, if it can be, or become, a folder (or a file).

    Raises:
        UserError: no folder can be there.
    """
    if not text.strip():
        raise UserError(f"{option} is empty; name a folder, as in runs/mine")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{option} {text!a} is not UTF-8; choose another") from None
    path = Path(text)
    for part in (path, *path.parents):
        try:
            mode = os.stat(part).st_mode
        except (FileNotFoundError, NotADirectoryError):
            if part.is_symlink():
                raise UserError(
                    f"{option} {path}: {part} is a link to nothing; choose another"
                ) from None
            continue
        except OSError as error:
            raise UserError(
                f"{option} {path}: {error.strerror}; choose another"
            ) from None
        if not (stat.S_ISDIR(mode) or (file and part == path)):
            raise UserError(f"{option} {path}: {part} is a file; choose another")
        break
    return path


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Makes a folder; an error of the disk inside `with` becomes one line that names it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {root}: {error.strerror}; choose another --workdir"
        ) from None


def run_folders(
    root: Path, experiments: Sequence[Experiment], study: str | None
) -> list[tuple[Experiment, Path]]:
    """The runs to train, each with its folder: `root`, or for a study one inside it.

    Of a run that has ended with fewer seeds, the others, in a folder inside its own.

    Raises:
        UserError: a folder holds something else, or two runs have one name.
    """
    names = [experiment.name for experiment in experiments]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UserError(f"two runs are called {name!r}; sweep other fields")
    if study is not None:
        check_study(root, study, names)
    folders = [root / name if study else root for name in names]
    runs = [remaining(e, own) for e, own in zip(experiments, folders)]
    for experiment, own in runs:
        RunFolder(own).check(experiment)
    return runs


def check_made(root: Path, command: str, *made: str) -> None:
    """Raises `UserError` where `root` holds files, and none that a command makes.

    Args:
        made: patterns of what it makes beside tables, which are known by their endings.
    """
    others = sorted(p.name for p in root.glob("*") if not p.name.startswith("."))
    endings = (".csv", ".md", ".tex")
    tables = ({path.stem for path in root.glob(f"*{end}")} for end in endings)
    ours = set.intersection(*tables) or any(
        path.name != "config.json" or _is_run(path.parent)
        for one in made
        for path in root.glob(one)
    )
    if others and not ours:
        raise UserError(
            f"{root} holds {others[0]!r} and nothing that {command} makes; choose "
            "another --workdir"
        )


def _is_run(folder: Path) -> bool:
    """Whether `config.json` in a folder is that of a run, be it damaged."""
    path = folder / "config.json"
    config = read_json_or_none(path)
    return path.is_file() and (config is None or "fingerprint" in config)


def check_study(root: Path, study: str, names: Sequence[str]) -> None:
    """Raises `UserError` where `root` holds another study, one run, or other files."""
    if not root.is_dir():
        return
    if _is_run(root):
        raise UserError(
            f"{root} is the folder of one run, and {study!r} makes several; choose "
            "another --workdir"
        )
    ours, others = False, []
    for entry in sorted(p for p in root.iterdir() if not p.name.startswith(".")):
        result = read_json_or_none(entry / "result.json") if entry.is_dir() else None
        there = (result or {}).get("study", study)
        if there != study:
            raise UserError(
                f"{root} holds {entry.name!r} of {there or 'no study'!r}, and not of "
                f"{study!r}; choose another --workdir"
            )
        run = entry.name in names or _is_run(entry)
        ours, others = ours or run, others if run else [*others, entry.name]
    if others and not ours:
        raise UserError(
            f"{root} holds {others[0]!r} and no run of {study!r}; choose another "
            "--workdir"
        )
