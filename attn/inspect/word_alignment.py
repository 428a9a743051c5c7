"""The alignment of words: the links of cross-attention beside those made by hand.

A word can be linked by the weights with which it is written, or by those of the next
step, which reads it (Kobayashi et al. 2020, section 5: alignment with output, and with
input); which links words better is the model's.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from attn.inspect.alignment import Aligned, Known, cross_maps, heads_and_means
from attn.inspect.reader import Reader
from attn.tasks.alignments import Alignments, Verse
from attn.tasks.word_links import Links, alignment_error_rate, strongest

WRITTEN, READ = "written", "read"
SHIFT = {WRITTEN: 0, READ: 1}
"""The steps from the map's row that writes a word to the one whose weights link it."""
NOTE = (
    "Alignment error rate on the test split, less is better: each English word is linked "
    "to the Greek word with its largest weight in the step that writes it, or in the next, "
    "which reads it. The last row is the head, and the step, that are best on valid."
)


def word_alignment(reader: Reader, task: Alignments) -> Known:
    """Measures the links of every head, and of means over heads, beside the diagonal's."""
    test, valid = (_scored(reader, task, split) for split in ("test", "valid"))
    what, way = min(
        ((what, way) for what in valid for way in SHIFT),
        key=lambda at: valid[at[0]][at[1]],
    )
    best = f"best on valid ({what}, {way})"
    straight = task.link_baselines("test")["diagonal"]
    found = (
        *(Aligned(name, scores) for name, scores in test.items()),
        Aligned("diagonal", dict.fromkeys(SHIFT, straight), True),
        Aligned(best, {other: test[what][other] for other in SHIFT}),
    )
    return Known("Alignment of words", NOTE, found)


def _scored(
    reader: Reader, task: Alignments, split: str
) -> dict[str, Mapping[str, float]]:
    """The error rates of every head and mean on a split."""
    from attn.data.build import prepare

    verses = task.verses(split)
    maps = heads_and_means(cross_maps(reader, prepare(task).splits[split]))
    return {what: error_rates(weights, verses) for what, weights in maps}


def error_rates(
    weights: Float[np.ndarray, "n T S"], verses: Sequence[Verse]
) -> Mapping[str, float]:
    """Computes the alignment error rate of both ways to read a map's links."""
    gold = [verse.links for verse in verses]
    return {
        way: alignment_error_rate(gold, gold, _links(weights, verses, shift))
        for way, shift in SHIFT.items()
    }


def _links(
    weights: Float[np.ndarray, "n T S"], verses: Sequence[Verse], shift: int
) -> list[Links]:
    """The link of each target word of each verse, off the row that is `shift` later."""
    return [
        strongest(own[shift : shift + len(verse.english), : len(verse.greek)])
        for own, verse in zip(weights, verses, strict=True)
    ]
