"""Claims as data: a sentence, and the differences between runs that it predicts."""

import math
from dataclasses import dataclass

from attn.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """A difference that is predicted, in the task's own metric; more is better.

    It lies above `at_least` and below `at_most`, so that the default predicts that a run is
    better, and `Prediction(a, b, -0.02, 0.02)` that two are alike.
    """

    run: str
    """The name of an experiment."""
    than: str | float
    """Another experiment, a trivial baseline of the task, or a number."""
    at_least: float = 0.0
    at_most: float = math.inf

    def __post_init__(self):
        if not self.at_least < self.at_most:
            raise UserError(
                f"Prediction.at_least = {self.at_least}; it must be below at_most = "
                f"{self.at_most}"
            )


@dataclass(frozen=True)
class Claim:
    """A sentence, and all that must hold for it."""

    sentence: str
    predictions: tuple[Prediction, ...]

    def __post_init__(self):
        if not self.predictions:
            raise UserError(
                f"Claim {self.sentence!r} predicts nothing; it needs a Prediction"
            )
