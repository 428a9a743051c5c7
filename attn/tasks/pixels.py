"""Grey images as sequences of pixels: Fashion-MNIST, from Debian's package.

70,000 images of clothes of 28 x 28 pixels (Xiao, Rasul and Vollgraf 2017,
arXiv:1708.07747), read row by row as Long Range Arena reads CIFAR-10. Accuracies of other
models on whole images are in the package, in `benchmark/baselines.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from attn.errors import UserError
from attn.tasks.archives import open_deb, read_file, read_idx
from attn.tasks.base import Dataset, Rows
from attn.tasks.linear import class_means, fitted, softmax_regression
from attn.tasks.packaged import PackagedExamples

PIXELS = 28 * 28
NUM_VALID = 5_000
FOLDER = "./usr/share/datasets/fashion-mnist"
KINDS = 10
LEVELS = 256


@dataclass(frozen=True)
class Pixels(PackagedExamples):
    """Tell ten kinds of clothes apart, from 784 grey pixels read in turn."""

    name = "pixels"
    package = "fashion-mnist"

    seq_len: int = PIXELS
    data_seed: int = 0
    """Seed of the shuffle that takes 5,000 valid images from those of train."""

    def __post_init__(self):
        super().__post_init__()
        if self.seq_len != PIXELS:
            raise UserError(
                f"Pixels.seq_len = {self.seq_len}; an image has {PIXELS} pixels"
            )

    @property
    def image(self) -> tuple[int, int]:
        """The height and width of an image."""
        return 28, 28

    @property
    def vocab_size(self) -> int:
        """The number of grey levels, 256."""
        return LEVELS

    @property
    def num_classes(self) -> int:
        """The number of kinds of clothes, 10."""
        return KINDS

    def split_rows(self) -> Mapping[str, Rows]:
        """Reads 55,000 train, 5,000 valid and the set's own 10,000 test images."""
        train, test = read_images(self.archive())
        order = np.random.default_rng(self.data_seed).permutation(len(train["tokens"]))
        chosen = {"valid": order[:NUM_VALID], "train": order[NUM_VALID:]}
        own = {s: {k: a[at] for k, a in train.items()} for s, at in chosen.items()}
        return own | {"test": test}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; the last two see all pixels at once."""
        y, y_test = (data.splits[s]["targets"][:, 0] for s in ("train", "test"))
        return {
            "chance": 1 / KINDS,
            "majority": float(np.mean(y_test == np.bincount(y).argmax())),
            "class_mean": fitted(class_means, data, KINDS),
            "logistic_regression": fitted(softmax_regression, data, KINDS),
        }


@lru_cache(maxsize=1)
def read_images(path: Path) -> tuple[Rows, Rows]:
    """The train and the test images of an archive, with their labels."""
    with open_deb(path) as tar:
        arrays = {
            kind: read_idx(read_file(tar, f"{FOLDER}/{kind}-ubyte.gz"))
            for part in ("train", "t10k")
            for kind in (f"{part}-images-idx3", f"{part}-labels-idx1")
        }
    images = iter(arrays.values())
    train, test = (
        {"tokens": tokens.reshape(len(tokens), -1), "targets": next(images)[:, None]}
        for tokens in images
    )
    return train, test
