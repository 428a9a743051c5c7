"""Docstrings without their first line, for which that line is to be written.

Summarisation in its shape, on real text: the docstrings of the standard library's
modules, classes and functions that have the form of PEP 257, a line, an empty line, a
body. The source is the body with single blanks for white space, the target the line. Each
docstring is read once, and docstrings with equal first lines are of one split, so that no
line of the test split was seen in training.

What it is not: nobody wrote the line to sum up the body, which often goes on where the
line ends, and the name of what is described is not told. It is short and of one subject.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Dataset
from attn.tasks.corpora import docstrings, version
from attn.tasks.pairs import Pair
from attn.tasks.targets import sources
from attn.tasks.text_pairs import TextPairs


@dataclass(frozen=True)
class Summaries(TextPairs):
    """Write the first line of a docstring that has lost it."""

    name = "summaries"

    seq_len: int = 80
    """Bytes of the longest line and its end, T."""
    source_len: int = 512  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Bytes of the longest body, S."""

    @property
    def source(self) -> str:
        """The version of Python that the text belongs to."""
        return version()

    def pairs(self) -> Sequence[Pair]:
        """The bodies and first lines, in the order of the library's files."""
        found: dict[str, str] = {}
        for text in docstrings():
            line, _, rest = text.partition("\n")
            body = " ".join(rest.split())
            if body and rest.startswith("\n"):
                found.setdefault(body, line.strip())
        return [
            Pair(body.encode(), line.encode(), line.encode())
            for body, line in found.items()
        ]

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """The body's first sentence, and the line of the nearest training body."""
        leads = [lead(bytes(source)) for source in sources(data.splits["test"])]
        both = super().guesses(data)
        return {"lead": self.as_targets(leads), "nearest": both["nearest"]}


def lead(body: bytes) -> bytes:
    """The first sentence of a text, to its first full stop before a blank."""
    return body.partition(b". ")[0].removesuffix(b".") + b"."
