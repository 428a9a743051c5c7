"""Classification: one class for a whole sequence."""

from dataclasses import dataclass

from attn.objectives.base import Objective
from attn.objectives.heads import ClassHead, Head


@dataclass(frozen=True)
class Classify(Objective):
    """Cross-entropy of a sequence's class, from an encoder's mean state."""

    name = "classify"
    causal = False

    def head(self, num_classes: int) -> Head:
        return ClassHead(num_classes)

    def num_scored(self, T):
        return 1
