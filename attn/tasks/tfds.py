"""Classification of a dataset of TensorFlow Datasets, by its name.

    python launch.py run digits_softmax --task tfds:imdb_reviews

A dataset that is not on disk is downloaded. Texts are read as they are, images and other
arrays of bytes value by value, or of coloured images a grey value for each pixel. Where
there is no valid split, it is taken from train.
"""

import contextlib
import io
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from attn.errors import UserError, unknown
from attn.tasks import linear
from attn.tasks.base import SPLITS, Dataset
from attn.tasks.labelled import Example, Labelled
from attn.tasks.vocabulary import BYTES

HOST = "storage.googleapis.com"
"""Where TFDS keeps what it says of its datasets."""
NAMES = {"train": "train", "validation": "valid", "valid": "valid", "test": "test"}
"""The names of splits in TensorFlow Datasets, and ours."""
GREY = (2_989, 5_870, 1_140)
"""Ten-thousandths of red, green and blue in the grey of a pixel."""


@dataclass(frozen=True)
class Tfds(Labelled):
    """Tell the label of a text or an image of a TensorFlow dataset."""

    name = "tfds"

    grey: bool = False
    """Whether an image of 3 channels is read as one grey value for each pixel, as Long
    Range Arena (Tay et al. 2021) reads CIFAR-10."""

    @property
    def example(self) -> str:
        return "imdb_reviews"

    def examples_of_data(self) -> Iterator[Example]:
        sources, names = load(self.data, (self.text_column, self.label_column))
        ours = {NAMES[split]: source for split, source in sources.items()}
        for split, source in ours.items():
            for i, example in enumerate(source):
                text = self._text(example[self.text_column])
                own = "" if split == "train" and len(ours) < len(SPLITS) else split
                where = f"{self.data} {split} example {i}"
                yield (
                    where,
                    own,
                    text,
                    label_name(example[self.label_column], names, where),
                )

    @property
    def by_hash(self) -> bool:
        return len(self._given()) < len(SPLITS)

    def _given(self) -> set[str]:
        """The splits that the dataset has; the others are taken from train."""
        sources, _ = load(self.data, (self.text_column, self.label_column))
        return {NAMES[split] for split in sources}

    def split_of(self, row: Integer[np.ndarray, " T"]) -> str:
        """The split of a row of train; valid, and test, come from it where missing."""
        by_hash = super().split_of(row)
        return "train" if by_hash in self._given() else by_hash

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; of images also of a linear model of all values."""
        own = super().baselines(data)
        sources, _ = load(self.data, (self.text_column, self.label_column))
        if not isinstance(sources["train"][0][self.text_column], np.ndarray):
            return own
        fit = linear.softmax_regression
        return own | {"logistic_regression": linear.fitted(fit, data, self.num_classes)}

    def _text(self, value: Any) -> bytes:
        if self.grey:
            value = self._in_grey(value)
        if isinstance(value, str | bytes):
            return value.encode() if isinstance(value, str) else value
        if value.dtype == np.uint8 and self.vocabulary == BYTES:
            return value.tobytes()
        raise UserError(
            f"{self.data}: {self.text_column} holds {value.dtype} {value.shape}; it must "
            "be text, or bytes read with --task.vocabulary bytes; choose --task.text-column"
        )

    def _in_grey(self, value: Any) -> UInt8[np.ndarray, "*pixels"]:
        pixels = np.asarray(value)
        if pixels.dtype != np.uint8 or pixels.shape[-1:] != (3,):
            text = isinstance(value, str | bytes)
            found = "text" if text else f"shape {pixels.shape}"
            raise UserError(
                f"{self.data}: --task.grey is given, and {self.text_column} holds {found}, "
                "no pixels of 3 channels; choose --task.text-column, or --task.no-grey"
            )
        return to_grey(pixels)


def to_grey(
    pixels: UInt8[np.ndarray, "*pixels 3"],
) -> UInt8[np.ndarray, "*pixels"]:
    """Computes grey values as `tf.image.rgb_to_grayscale` does, in whole numbers.

    White is 255.5 levels there, and fractions are cut off.
    """
    return (pixels.astype(int) @ GREY * 511 // (510 * 10_000)).astype(np.uint8)


def label_name(value: Any, names: Sequence[str], where: str) -> str:
    """The name of a label, or its number; an example without one is refused."""
    number = np.asarray(value)
    if number.dtype.kind not in "iub" or number.ndim or number < 0:
        raise UserError(
            f"{where} has no label: {value!r} is no number from 0 on; choose another "
            "dataset, or another --task.label-column"
        )
    return names[int(number)] if names else str(int(number))


@lru_cache(maxsize=1)
def load(name: str, columns: tuple[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The splits of a dataset as sources, and the names of its labels (or none).

    Raises:
        UserError: there is no such dataset, or it cannot be had.
    """
    builder = _builder(name)
    features = builder.info.features
    for column in columns:
        if column not in features:
            error = unknown("feature", column, features)
            raise UserError(
                f"tfds:{name}: {error} (--task.text-column, --task.label-column)"
            )
    try:
        if not builder.is_prepared():
            socket.getaddrinfo(HOST, 443)  # TFDS alone would try for three minutes
            builder.download_and_prepare()
        splits = [split for split in builder.info.splits if split in NAMES]
        sources = {split: builder.as_data_source(split=split) for split in splits}
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"tfds:{name} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}: {reason}); run this where there is a network, or "
            "copy that folder here"
        ) from error
    if "train" not in sources:
        raise UserError(f"tfds:{name} has no split train; choose another dataset")
    return sources, list(getattr(features[columns[1]], "names", None) or [])


def _builder(name: str) -> Any:
    """The builder of a dataset, whatever TFDS prints of a missing TensorFlow."""
    import tensorflow_datasets as tfds

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            here = os.environ.get("TFDS_DATA_DIR")  # TFDS reads it once, at import
            return tfds.builder(name, data_dir=here, file_format="array_record")
        except Exception as error:
            known = tfds.list_builders(with_community_datasets=False)
            if name.partition("/")[0].partition(":")[0] not in known:
                raise unknown("TFDS name", name, known) from error
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"tfds:{name}: {reason}; choose another") from error
