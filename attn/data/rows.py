"""Rows that fit in memory, as a TFDS dataset in array_record files, without TensorFlow."""

import hashlib
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from attn.tasks.base import SPLITS, Rows, Task, in_32_bits


def write(task: Task, folder: Path) -> Path:
    """Writes the rows of a task below a folder; returns where."""
    builder = _builder(task, folder)
    # TFDS logs and draws progress bars whatever its settings.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            builder.download_and_prepare()
        except RuntimeError as error:  # array_record's word for a full disk
            raise OSError(str(error).partition("\n")[0]) from error
    return Path(builder.data_path)


def read(task: Task, folder: Path) -> tuple[Mapping[str, Rows], str]:
    """The rows of each split of a folder, and the hash of them all."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    splits = {s: _stack(builder.as_data_source(split=s)) for s in SPLITS}
    return splits, _content(splits)


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
