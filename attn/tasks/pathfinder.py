"""Pathfinder: whether the two discs of an image lie on one dashed curve.

Rules of Linsley et al. 2018 (arXiv 1805.08315; `snakes2.py` of drewlinsley/pathfinder) with
the sizes of Long Range Arena (Tay et al. 2021; `lra_benchmarks/data/pathfinder.py`), whose
hard set, `curv_contour_length_14`, is the default. LRA's amounts are 160,000, 20,000 and
20,000 images; its sets of 6 and 9 paddles a curve have 10 and 6 distractors (11 and 7 at
64 px). What departs from the published generator:

- A paddle keeps its margin from all but its neighbours. There, the last paddles of the two
  curves are not held against each other, nor one of them against distractors; some cross.
- First paddles are held to the rule of all others (two spaces sum to less than 1.8 in each
  pixel), not to a stricter one, and those in the middle are placed without its mask.
- Strokes are sampled at 16 x 16 points a pixel and have round ends; there PIL draws them at
  twice the size, and Lanczos shrinks them and leaves rings of a few levels.
- Levels end at 255; there each image is divided by its brightest pixel.
- `continuity` is 1 at 64 px, too. LRA names 1.8, with which one pair of curves in a thousand
  or two finds room, there and here: a fifth of a second an image.
- Labels are drawn in pairs, one of each kind, not independently.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.errors import UserError, require_positive, unknown
from attn.objectives import Classify
from attn.tasks.base import SPLITS, Dataset, Rows, Task, require_seed
from attn.tasks.linear import accuracy, softmax_regression, with_bias
from attn.tasks.pathfinder_curves import Keys, derived, uniform
from attn.tasks.pathfinder_images import drawn
from attn.tasks.pathfinder_layouts import Plan, layouts
from attn.tasks.pathfinder_paddles import LOOKS
from attn.tasks.pathfinder_solver import distances, solved
from attn.tasks.synthetic import require

AT_ONCE = 4096
"""Images that are made at once."""
BRIGHT = 128
"""The grey level from which a pixel counts as ink."""
LOOKED_AT = 16_384
"""Rows of a split that baselines look at."""
LABEL = 4
"""What a number is drawn for: which image of a pair is positive."""


@dataclass(frozen=True)
class Pathfinder(Task):
    """Tell whether two discs lie on one dashed curve, among curves that distract."""

    name = "pathfinder"
    objective = Classify()

    seq_len: int = 0
    """Pixels of an image, row by row; 0 says `size` times `size`."""
    size: int = 32
    """Pixels of a side: 32 or 64, for which LRA says how large all else is."""
    contour_length: int = 14
    """Paddles of each of the two curves; a distractor has a third as many."""
    num_distractors: int = 5
    """Distractors that are tried; one without room is left out."""
    continuity: float = 1.0
    """How straight curves are: a curve turns by less than 90 degrees over it."""
    distractor_contrast: float | None = None
    """Contrast of distractors, where the two curves have 1. None is LRA's: 4/3 at 32 px,
    so that brightness tells them apart, and 1 at 64 px."""
    num_train: int = 16_384
    num_valid: int = 1_024
    num_test: int = 2_048
    data_seed: int = 0

    def __post_init__(self):
        require(self, "size", self.size in LOOKS, f"it must be one of {[*LOOKS]}")
        pixels = self.size**2
        if self.seq_len == 0:
            object.__setattr__(self, "seq_len", pixels)
        what = (
            f"an image of size = {self.size} has {pixels} pixels; give --task.seq-len 0"
        )
        require(self, "seq_len", self.seq_len == pixels, what)
        require_positive(self, "num_train", "num_valid", "num_test")
        require_seed(self)
        for field, least in (("contour_length", 3), ("num_distractors", 0)):
            enough = getattr(self, field) >= least
            require(self, field, enough, f"it must be at least {least}")
        for field in ("continuity", "distractor_contrast"):
            value = getattr(self, field)
            finite = value is None or 0 < value < np.inf
            require(self, field, finite, "it must be above 0, and finite")

    @property
    def image(self) -> tuple[int, int]:
        """The height and width of an image."""
        return self.size, self.size

    @property
    def vocab_size(self) -> int:
        """The number of grey levels, 256."""
        return 256

    @property
    def num_classes(self) -> int:
        """The number of answers, 2."""
        return 2

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, size * size] and targets [n, 1]: 1 where one curve has both."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        base = derived(np.array([self.data_seed], np.uint64), SPLITS.index(split))
        index = np.arange(getattr(self, f"num_{split}"))
        keys = derived(base, index)
        thrown = np.floor(2 * uniform(derived(base, index // 2 * 2), LABEL)).astype(int)
        labels = thrown ^ (index & 1)
        parts = [
            self._images(keys[start : start + AT_ONCE], labels[start : start + AT_ONCE])
            for start in range(0, len(keys), AT_ONCE)
        ]
        targets = labels[:, None].astype(np.uint8)
        return {"tokens": np.concatenate(parts), "targets": targets}

    def _images(self, keys: Keys, labels: Int[np.ndarray, " n"]) -> np.ndarray:
        look = LOOKS[self.size]
        plan = Plan(look, self.contour_length, self.num_distractors, self.continuity)
        found = layouts(plan, keys)
        if found is None:
            raise UserError(
                f"Pathfinder.contour_length = {self.contour_length} leaves no room for "
                f"two curves in size = {self.size} with continuity = {self.continuity}; "
                "make it shorter, or continuity smaller"
            )
        contrast = self.distractor_contrast
        if contrast is None:
            contrast = look.distractor_contrast / look.contrast
        return drawn(look, found, keys, labels, contrast)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies of predictors that trace no curve.

        `ink` looks at how many pixels are bright, `disc_distance` at how far apart the
        discs are, and `linear`, a logistic regression, at all pixels at once.
        """
        train, test = (
            {key: array[:LOOKED_AT] for key, array in data.splits[split].items()}
            for split in ("train", "test")
        )
        views = {
            "majority": lambda rows: np.zeros(len(rows["tokens"]), int),
            "ink": lambda rows: (rows["tokens"] >= BRIGHT).sum(axis=1),
            "disc_distance": lambda rows: distances(LOOKS[self.size], rows["tokens"]),
        }
        tables = {name: _looked_up(view, train, test) for name, view in views.items()}
        (x, y), (x_test, y_test) = (
            (with_bias(rows["tokens"]), rows["targets"][:, 0]) for rows in (train, test)
        )
        weights = softmax_regression(x, y, self.num_classes)
        linear = {"linear": accuracy(weights, x_test, y_test)}
        return {"chance": 0.5} | tables | linear

    def solvers(self, data: Dataset) -> dict[str, float]:
        """Computes the test accuracy of tracing curves, paddle by paddle."""
        rows, look = data.splits["test"], LOOKS[self.size]
        said = solved(look, rows["tokens"], self.contour_length)
        return {"tracing": float(np.mean(said == rows["targets"][:, 0]))}


def _looked_up(view: Callable[[Rows], np.ndarray], train: Rows, test: Rows) -> float:
    """The test accuracy of the commonest train label of each number that a view sees."""
    seen, asked = view(train), view(test)
    counts = np.zeros((max(seen.max(), asked.max()) + 1, 2))
    np.add.at(counts, (seen, train["targets"][:, 0]), 1)
    return float(np.mean(counts[asked].argmax(axis=1) == test["targets"][:, 0]))
