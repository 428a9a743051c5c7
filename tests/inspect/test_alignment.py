"""Alignments: of made-up maps, and of dates whose true one is known."""

import numpy as np
import pytest

from attn.errors import UserError
from attn.inspect.alignment import aligned, alignment_table, mean_map
from attn.inspect.date_alignment import PARTS, diagonal, marked, share_on
from attn.inspect.word_alignment import error_rates
from attn.plots.tables import to_markdown
from attn.plots.text_maps import LayerMap
from attn.tasks import Dates
from attn.tasks.alignments import Verse
from attn.tasks.pairs import Pair

SOURCES = {
    "pt_BR 2 de mar. de 1994": ("1994", "mar.", "2"),
    "de_DE Sonntag, 18. Oktober 1953": ("1953", "Oktober", "18"),
    "en_GB 01/12/2012": ("2012", "12", "01"),
    "el_GR Τετάρτη 28 Ιουνίου 2000": ("2000", "Ιουνίου", "28"),
    "ja_JP 2009年2月27日": ("2009", "2", "27"),
}
ISO = ("1994-03-02", "1953-10-18", "2012-12-01", "2000-06-28", "2009-02-27")


def cross(values, queries="xy", keys="abc"):
    heads = np.asarray(values, np.float32)
    return LayerMap("cross", 0, "dense", heads, tuple(queries), tuple(keys))


def test_the_mean_of_heads_decides_and_says_how_many_agree():
    layer = cross([[[0.1, 0.9, 0.0], [0.0, 0.2, 0.8]], [[0.6, 0.4, 0.0], [0, 0, 1]]])
    assert aligned(mean_map([layer])).tolist() == [1, 2]
    assert aligned(layer.values).tolist() == [[1, 2], [0, 2]]
    text = to_markdown([alignment_table([layer])])
    assert "| x | b | 1 | 0.650 | 1 of 2 |" in text
    assert "| y | c | 2 | 0.900 | 2 of 2 |" in text


def test_the_diagonal_goes_from_the_first_to_the_last_source_token():
    assert diagonal(4, 7).tolist() == [0, 2, 4, 6]
    assert diagonal(3, 2).tolist() == [0, 0, 1]


def test_a_share_counts_the_positions_that_some_source_token_says():
    said = np.zeros((1, 3, 4), bool)
    said[0, 0, 1:3] = said[0, 2, 3] = True
    assert share_on(np.array([[2, 0, 0]]), said) == 0.5
    assert share_on(np.array([[2, 0, 3]]), said) == 1.0
    assert share_on(np.array([[3, 0, 2]]), said) == 0.0


@pytest.mark.parametrize("text, iso", list(zip(SOURCES, ISO)))
def test_a_source_says_where_its_year_month_and_day_stand(text, iso):
    found = Dates().said_at(text, iso)
    said = [text.encode()[slice(*found[part])].decode() for part in PARTS]
    assert tuple(said) == SOURCES[text]


def test_a_source_that_says_another_date_is_refused():
    with pytest.raises(UserError, match="is not 2012-01-12 in a style of en_GB"):
        Dates().said_at("en_GB 01/12/2012", "2012-01-12")


def test_each_target_digit_is_marked_on_the_bytes_that_say_it():
    task = Dates()
    text, iso = "el_GR 28 Ιουνίου 2000".encode(), b"2000-06-28"
    rows = task.columns([Pair(text, iso, iso)])
    month = marked(task, rows, "month")[0]
    assert np.flatnonzero(month.any(axis=1)).tolist() == [5, 6]
    assert bytes(rows["source"][0][month[5]].tolist()).decode() == "Ιουνίου"
    year = marked(task, rows, "year")[0]
    assert np.flatnonzero(year[3]).tolist() == [24, 25, 26, 27]


def test_words_are_linked_as_they_are_written_or_as_they_are_read():
    verses = [Verse(("a", "b", "c"), ("x", "y", "z"), {(2, 0), (1, 1), (0, 2)})]
    weights = np.zeros((1, 5, 4), np.float32)
    weights[0, [0, 1, 2], [2, 1, 0]] = 1.0
    weights[0, :, 3] = 2.0  # padding, which no word of the verse can be linked to
    assert error_rates(weights, verses) == pytest.approx({"written": 0, "read": 2 / 3})
    assert error_rates(np.roll(weights, 1, axis=1), verses)["read"] == 0
