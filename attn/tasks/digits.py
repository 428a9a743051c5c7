"""Handwritten digits as sequences of pixels: real images, without a download.

The 1,797 images of 8 x 8 pixels, values 0 .. 16, of scikit-learn's `load_digits`
(test part of Alpaydin and Kaynak's UCI set, 1998), read row by row.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from attn.errors import UserError, unknown
from attn.objectives import Classify
from attn.tasks.base import SPLITS, Dataset, Rows, Task, require_seed

PIXELS = 64
CUTS = {"train": slice(0, 1297), "valid": slice(1297, 1497), "test": slice(1497, 1797)}


@dataclass(frozen=True)
class Digits(Task):
    """Tell ten digits apart; one fixed shuffle split into 1,297 / 200 / 300."""

    name = "digits"
    objective = Classify()
    split_fields = ("data_seed",)

    seq_len: int = PIXELS
    data_seed: int = 0
    """Seed of the shuffle before the split."""

    def __post_init__(self):
        require_seed(self)
        if self.seq_len != PIXELS:
            raise UserError(
                f"Digits.seq_len = {self.seq_len}; an image has {PIXELS} pixels"
            )

    @property
    def image(self) -> tuple[int, int]:
        """The height and width of an image."""
        return 8, 8

    @property
    def vocab_size(self) -> int:
        """The number of grey levels, 17."""
        return 17

    @property
    def num_classes(self) -> int:
        """The number of digits, 10."""
        return 10

    def check(self) -> None:
        """Raises `UserError` without scikit-learn, an optional extra."""
        require_sklearn()

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, 64] and targets [n, 1]."""
        if split not in CUTS:
            raise unknown("split", split, SPLITS)
        require_sklearn()
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(self.data_seed).permutation(len(images))
        chosen = order[CUTS[split]]
        return {
            "tokens": images[chosen].astype(np.uint8),
            "targets": labels[chosen, None].astype(np.uint8),
        }

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; the logistic regression sees all pixels at once."""
        require_sklearn()
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        (x, y), (x_test, y_test) = (
            (rows["tokens"] / 16, rows["targets"][:, 0])
            for rows in (data.splits["train"], data.splits["test"])
        )
        with threadpool_limits(1):  # 0.03 s; many threads wait on each other
            fitted = LogisticRegression(max_iter=1000).fit(x, y)
        return {
            "chance": 1 / self.num_classes,
            "majority": float(np.mean(y_test == np.bincount(y).argmax())),
            "logistic_regression": float(fitted.score(x_test, y_test)),
        }


def require_sklearn() -> None:
    """Raises `UserError` where scikit-learn, an optional extra, is missing."""
    if find_spec("sklearn") is None:
        raise UserError(
            "task 'digits' needs scikit-learn, which is not installed; "
            "run: pip install 'attn[data]'"
        )
