"""Links between the words of a source and of a target, and how wrong they are.

A link is a pair (source position, target position). Of gold links, `sure` ones must be
found and `possible` ones may be (Och and Ney 2003, section 2.1.3).
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from jaxtyping import Float

Link = tuple[int, int]
Links = AbstractSet[Link]


def alignment_error_rate(
    sure: Sequence[Links], possible: Sequence[Links], predicted: Sequence[Links]
) -> float:
    """Computes the alignment error rate of a corpus, 0 .. 1; each item is a sentence.

    It is 1 - (|A & S| + |A & P|) / (|A| + |S|) with A the predicted links, S the sure
    ones, P these and the possible ones (Och and Ney 2003, equation 15).
    """
    right = total = 0
    for own, may, said in zip(sure, possible, predicted, strict=True):
        right += len(said & own) + len(said & (may | own))
        total += len(said) + len(own)
    return 1 - right / total


def diagonal(source_words: int, target_words: int) -> Links:
    """Links each target word to the source word at the same share of the sentence."""
    return {(j * source_words // target_words, j) for j in range(target_words)}


def strongest(weights: Float[np.ndarray, "T S"]) -> Links:
    """Links each target word to the source word that has its largest weight.

    Row j is what is read while target word j is written: for a decoder whose row 0 holds
    the start token, the rows of a cross-attention's map as they are.
    """
    return {(int(i), j) for j, i in enumerate(weights.argmax(axis=1))}
