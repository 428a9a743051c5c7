"""Pairs of dates: what is written is what was drawn, in the splits that are told."""

import re
from datetime import date, timedelta

import numpy as np
import pytest

from attn.data.build import prepare
from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, Dates
from attn.tasks.dates import FIRST, LOCALES, digits, patterns
from attn.tasks.targets import padded, scores

pytest.importorskip("babel")
TASK = Dates(num_dates=1_500)


def texts_of(task, rows) -> list[tuple[str, str]]:
    sources = [s[:n] for s, n in zip(rows["source"], rows["source_lengths"])]
    texts = [task.spelled(source.tolist()) for source in sources]
    return [*zip(texts, map(task.text, rows["targets"]))]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset({split: TASK.rows(split) for split in SPLITS}, "", "")


@pytest.fixture(scope="module")
def texts(data) -> dict[str, list[tuple[str, str]]]:
    return {split: texts_of(TASK, data.splits[split]) for split in SPLITS}


def test_every_row_reads_back_as_a_locale_s_date_and_its_iso_form(texts):
    from babel.dates import format_date

    for source, target in [*texts["valid"], *texts["test"]]:
        name, _, text = source.partition(" ")
        when = date.fromisoformat(target)
        styles = [style for _, style in patterns(name)]
        assert text in {format_date(when, style, locale=name) for style in styles}
        assert str(when.year) in text


def test_a_date_is_of_one_split_in_every_locale(texts):
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for _, target in texts[split]:
            assert split_of.setdefault(target, split) == split
    counts = [[*split_of.values()].count(split) for split in SPLITS]
    assert sum(counts) > 1_400
    np.testing.assert_allclose(counts[1:], 0.05 * sum(counts), rtol=0.4)


def test_two_dates_are_never_written_alike(texts):
    from babel.dates import format_date

    days = [FIRST + timedelta(97 * i) for i in range(60)]
    for name in LOCALES:
        styles = patterns(name)
        assert len(styles) >= 2
        for _, style in styles:
            assert len({format_date(day, style, locale=name) for day in days}) == 60
    assert {source[:5] for source, _ in texts["train"]} == {*LOCALES[:16]}


def test_tokens_are_the_targets_one_later_and_padding_is_zero(data):
    for rows in data.splits.values():
        assert (rows["tokens"][:, 0] == TASK.start).all()
        np.testing.assert_array_equal(rows["tokens"][:, 1:], rows["targets"][:, :-1])
        assert (rows["targets"][:, -1] == TASK.end).all()
        behind = np.arange(TASK.source_len) >= rows["source_lengths"][:, None]
        assert (rows["source"][behind] == 0).all()
        assert (rows["source"][~behind] > 0).all()


def test_digits_say_some_dates_and_the_majority_none(data):
    found = TASK.baselines(data)
    assert found["majority"] == 0
    assert 0.1 < found["digits"] < 0.35
    assert digits("nl_NL 02-03-1994") == "1994-03-02"
    assert digits("en_US March 2, 1994") == "1994-01-02"
    said = TASK.as_targets([digits("1994-03-02").encode()])
    assert re.fullmatch(r"1994-02-03<end>", "".join(map(TASK.label, said[0].tolist())))


def test_scores_count_right_targets_and_rows_without_a_wrong_one():
    rows = {"targets": np.array([[5, 6, 9, 0], [7, 9, 0, 0]]), "lengths": [3, 2]}
    rows["lengths"] = np.array(rows["lengths"])
    found = scores(np.array([[5, 6, 9, 4], [7, 8, 0, 0]]), rows)
    assert found == {"accuracy": 0.8, "exact_match": 0.5}
    np.testing.assert_array_equal(padded([(), (3, 1)], 3), [[0, 0, 0], [3, 1, 0]])


def test_written_texts_are_scored_whole():
    assert TASK.score_texts(["1994-03-02", "1"], ["1994-03-02", "2"]) == {
        "exact_match": 0.5
    }
    assert TASK.text(np.array([*b"19", TASK.end, 0, 0])) == "19"
    assert (
        TASK.text(np.array([*b"19", TASK.start, 0xC3])) == "19\N{REPLACEMENT CHARACTER}"
    )


def test_pairs_that_do_not_fit_are_left_out_and_counted(tmp_path):
    short = Dates(num_dates=1_500, source_len=20)
    longer = sum(len(pair.source) > 20 for pair in short.pairs())
    kept, said = 1_500 - longer, []
    built = prepare(short, tmp_path, say=said.append)
    assert sum(len(rows["tokens"]) for rows in built.splits.values()) == kept
    assert said[1] == short.remark()
    for words in (f"has {kept:,} pairs", f"{longer:,} of 1,500", "source_len = 20"):
        assert words in said[1]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        (
            {"seq_len": 10},
            r"no pair in the train split: .* 1,500 of 1,500 .* raise them",
        ),
        ({"source_len": 0}, r"Dates\.source_len = 0"),
        ({"num_locales": 29}, r"Dates\.num_locales = 29; it must be from 1 to 28"),
        ({"num_dates": 0}, r"Dates\.num_dates = 0"),
        ({"data_seed": -1}, r"Dates\.data_seed = -1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(knobs, words):
    with pytest.raises(UserError, match=words):
        Dates(**{"num_dates": 1_500} | knobs).rows("test")


def test_without_babel_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setattr("attn.tasks.dates.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs Babel.*pip install 'attn\[data\]'"):
        TASK.check()
