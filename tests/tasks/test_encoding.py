"""Text becomes a task's tokens, and comes back."""

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import (
    MQAR,
    Dates,
    ListOps,
    Mails,
    MaskedText,
    PyDoc,
    Spans,
    Speeches,
)
from attn.tasks.vocabulary import Vocabulary


@pytest.mark.parametrize("task", [PyDoc(), Mails(), Speeches(), Dates()])
def test_bytes_are_those_of_the_text(task):
    text = "So it costs 5 €\n"
    assert task.encode(text) == list(text.encode())
    assert task.decode(task.encode(text)) == text
    assert task.decode([0xE2, 0x82]) == "\ufffd"


@pytest.mark.parametrize("task", [MQAR(), ListOps()])
def test_labels_between_spaces_are_tokens(task):
    tokens = np.random.default_rng(0).integers(0, task.vocab_size, 9).tolist()
    assert task.encode(task.decode(tokens)) == tokens
    with pytest.raises(UserError, match=f"unknown token of task {task.name!r} 'what'"):
        task.encode("what")


def test_characters_that_the_data_has_not_are_refused_by_name():
    words = Vocabulary("characters", characters=" abc")
    assert words.decode(words.encode(b"a cab", "here").tolist()) == "a cab"
    with pytest.raises(UserError, match="'z' is none of the 4 characters"):
        words.encode(b"abz", "here")


def test_a_pair_task_leaves_its_marks_out_of_the_text():
    task = Dates()
    assert task.decode([task.start, *b"2001-02-03", task.end]) == "2001-02-03"


def test_marks_in_a_text_are_the_tokens_that_they_show():
    spans = Spans()
    text = "each <0> ma<1>pping <99> <x>"
    assert spans.encode("a<1>b") == [97, 257, 98]
    assert spans.encode("<99>") == list(b"<99>")
    assert spans.decode(spans.encode(text)) == text
    masked = MaskedText()
    assert masked.encode("é <mask>f") == [*"é ".encode(), 256, 102]
    assert masked.decode(masked.encode("The <mask>ile")) == "The <mask>ile"
