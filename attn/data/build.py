"""A task's rows on disk and back: TFDS in array_record files, without TensorFlow.

    data_dir / task / config / version /    *.array_record*  *.json  SHA256SUMS

A dataset is built beside its final path and renamed to it, whole and with checksums, so
a folder that is there is complete; it is compared with its sums at every load.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from attn.errors import UserError
from attn.tasks.base import SPLITS, Dataset, Rows, Task, in_32_bits

SUMS = "SHA256SUMS"
STALE_AFTER_S = 3600
"""The age in seconds at which an unfinished build counts as abandoned."""


def default_data_dir() -> Path:
    """The default data folder: `$ATTN_DATA_DIR`, else `attn/datasets` in the cache."""
    if "ATTN_DATA_DIR" in os.environ:
        return Path(os.environ["ATTN_DATA_DIR"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "attn" / "datasets"


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
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder.parent)
            _build(task, folder)
    except OSError as error:
        raise UserError(
            f"cannot keep datasets in {root}: {error}; make room there, or set "
            "ATTN_DATA_DIR to a folder that can be written"
        ) from error
    return _load(task, folder)


def _build(task: Task, folder: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="incomplete.", dir=folder.parent))
    try:
        builder = _builder(task, temporary)
        # TFDS logs and draws progress bars whatever its settings.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            try:
                builder.download_and_prepare()
            except RuntimeError as error:  # array_record's word for a full disk
                raise OSError(str(error).partition("\n")[0]) from error
        built = Path(builder.data_path)
        (built / SUMS).write_bytes(_sums(built))
        try:
            built.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first: its rows are ours
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _builder(task: Task, data_dir: Path) -> Any:
    """Makes a task's TFDS builder, for array_record files, which need no TensorFlow."""
    import tensorflow_datasets as tfds

    examples = {split: list(task.examples(split)) for split in SPLITS}
    features = {
        key: tfds.features.Tensor(shape=value.shape, dtype=value.dtype)
        for key, value in examples["train"][0].items()
    }

    class TaskBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """The TFDS builder class of a task's splits."""

        name = task.name
        VERSION = tfds.core.Version(task.version)
        BUILDER_CONFIGS = [  # noqa: RUF012
            tfds.core.BuilderConfig(name=task.slug, description=repr(task))
        ]

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                description=type(task).__doc__,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,  # rows keep their order
            )

        def _split_generators(self, dl_manager):
            return {split: enumerate(rows) for split, rows in examples.items()}

        def _generate_examples(self):
            raise NotImplementedError("the split generators are all there is")

    return TaskBuilder(data_dir=data_dir, file_format="array_record")


def _load(task: Task, folder: Path) -> Dataset:
    """Reads all splits of a folder that matches its sums."""
    import tensorflow_datasets as tfds

    try:
        if (folder / SUMS).read_bytes() != _sums(folder):
            raise ValueError(f"its files do not match {SUMS}")
        builder: Any = tfds.builder_from_directory(folder)
        splits = {s: _stack(builder.as_data_source(split=s)) for s in SPLITS}
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"dataset {folder} is damaged ({reason}); delete that folder and run again: "
            "it is rebuilt"
        ) from error
    return Dataset(splits, _content(splits), f"{task.name}/{task.slug}/{task.version}")


def _sums(folder: Path) -> bytes:
    """Lists every file of a folder but the sums themselves, as `sha256sum` does."""
    paths = sorted(path for path in folder.iterdir() if path.name != SUMS)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    lines = [f"{digest}  {path.name}\n" for digest, path in zip(digests, paths)]
    return "".join(lines).encode()


def _content(splits: dict[str, Rows]) -> str:
    """Hashes all rows: splits and keys in order, each with its shape."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for key, array in sorted(splits[split].items()):
            digest.update(f"{split} {key} {array.shape}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _stack(source: Any) -> Rows:
    """Stacks all examples of a source as arrays of 32 bits."""
    examples = source.__getitems__(range(len(source)))
    return {
        key: in_32_bits(np.stack([example[key] for example in examples]))
        for key in examples[0]
    }


def _sweep(parent: Path) -> None:
    """Removes files that interrupted builds left behind."""
    for path in parent.glob("incomplete.*"):
        if time.time() - path.stat().st_mtime > STALE_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)
