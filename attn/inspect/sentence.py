"""A text as a model reads it: its tokens, their labels, and where each stands."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from attn.errors import UserError
from attn.tasks import Task

BLANK = "␣"
"""The label of a space."""


@dataclass(frozen=True)
class Sentence:
    """A text in tokens."""

    text: str
    tokens: tuple[int, ...]
    labels: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    """The characters of the text that each token is; none of a special token."""

    def where(self, word: str) -> list[int]:
        """The positions of the tokens of a word's first occurrence; none without it."""
        own = rf"(?<!\w){re.escape(word)}(?!\w)"
        found = re.search(own, self.text, re.IGNORECASE)
        if not word or found is None:
            return []
        start, stop = found.span()
        return [i for i, (a, b) in enumerate(self.spans) if a < stop and b > start]

    def follow(self, other: "Sentence") -> "Sentence":
        """This sentence after another one."""
        moved = tuple((a + len(other.text), b + len(other.text)) for a, b in self.spans)
        return Sentence(
            other.text + self.text,
            other.tokens + self.tokens,
            other.labels + self.labels,
            other.spans + moved,
        )


def special(token: int, label: str) -> Sentence:
    """One token that no text holds."""
    return Sentence("", (token,), (label,), ((0, 0),))


def of_task(task: Task, text: str) -> Sentence:
    """A text in the tokens of a task."""
    return of_task_tokens(task, [int(token) for token in task.encode(text)])


def of_task_tokens(task: Task, tokens: Sequence[int]) -> Sentence:
    """Tokens of a task, and the text that they are."""
    ends = [len(task.decode(list(tokens[:i]))) for i in range(len(tokens) + 1)]
    labels = tuple(_visible(task.label(token)) for token in tokens)
    spans: list[tuple[int, int]] = []
    for a, b in pairwise(ends):
        # The later bytes of a character add none.
        spans.append(spans[-1] if a == b and spans else (a, b))
    return Sentence(task.decode(list(tokens)), tuple(tokens), labels, tuple(spans))


def of_tokenizer(tokenizer: Any, text: str, *, special: bool = True) -> Sentence:
    """A text in the tokens of a `tokenizers.Tokenizer`, with those that it adds.

    Args:
        special: whether it may add any, such as the end of a text.
    """
    read = tokenizer.encode(text, add_special_tokens=special)
    labels = (
        _visible(text[a:b]) if b > a else name
        for name, (a, b) in zip(read.tokens, read.offsets)
    )
    return Sentence(text, tuple(read.ids), tuple(labels), tuple(read.offsets))


def require_readable(sentence: Sentence, option: str, most: int) -> Sentence:
    """The sentence, unless it has no token or more than a map can show.

    Raises:
        UserError: it has.
    """
    if not sentence.tokens:
        raise UserError(f"{option} has no token; give it some text")
    if len(sentence.tokens) > most:
        raise UserError(
            f"{option} has {len(sentence.tokens)} tokens, and a map shows at most {most}; "
            "give a shorter text"
        )
    return sentence


def _visible(label: str) -> str:
    return label.strip() or BLANK
