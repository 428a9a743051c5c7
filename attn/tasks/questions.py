"""Questions about a function's signature: what is the default of a parameter.

    source  maxsplit? split(pattern, string, maxsplit=0, flags=0)      target  0

Question answering in its shape, on real text: a context, a question of it, an answer that
is a span of the context. Contexts are the signatures of the standard library's functions,
each once, as `ast.unparse` writes them, that have two different defaults at least. Each
parameter with a default is asked for in turn, by its name. All questions of a signature
are of one split.

What it is not: the questions are of one form and made by a rule, so that it asks for
finding and copying, and for no knowledge or inference.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Dataset
from attn.tasks.corpora import signatures, version
from attn.tasks.pairs import BytePairs, Pair
from attn.tasks.targets import sources

ASKS = b"? "


@dataclass(frozen=True)
class Questions(BytePairs):
    """Write the default of the parameter that is asked for."""

    name = "questions"

    seq_len: int = 24
    """Bytes of the longest answer and its end, T."""
    source_len: int = 192  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Bytes of the longest question and signature, S."""

    @property
    def source(self) -> str:
        """The version of Python that the text belongs to."""
        return version()

    def pairs(self) -> Sequence[Pair]:
        """The questions and answers, in the order of the library's files."""
        return [
            Pair(name.encode() + ASKS + text.encode(), said.encode(), text.encode())
            for text, defaults in signatures()
            if len({*defaults.values()}) > 1
            for name, said in defaults.items()
        ]

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """The commonest answer, and the signature's first and last defaults."""
        answers = Counter(map(self.text, data.splits["train"]["targets"]))
        commonest = answers.most_common(1)[0][0]
        known = {text.encode(): [*own.values()] for text, own in signatures()}
        asked = [
            known[bytes(source).partition(ASKS)[2]]
            for source in sources(data.splits["test"])
        ]
        return {
            "majority": self.as_targets([commonest.encode()]),
            "first_default": self.as_targets([own[0].encode() for own in asked]),
            "last_default": self.as_targets([own[-1].encode() for own in asked]),
        }
