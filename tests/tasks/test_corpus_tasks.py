"""Tasks on the text that every Python has: hidden bytes, cut spans, docstrings, defaults."""

import re
from pathlib import Path

import numpy as np
import pytest

from attn.errors import UserError
from attn.objectives import Masked
from attn.tasks import SPLITS, Dataset, MaskedText, Questions, Spans, Summaries
from attn.tasks.corpora import CORPORA, texts
from attn.tasks.corpora import sources as library
from attn.tasks.masked import MASK
from attn.tasks.ngrams import between_bits
from attn.tasks.spans import partition
from attn.tasks.summaries import lead
from attn.tasks.targets import sources

SPANS = Spans(window=512, seq_len=128, source_len=512, repeats=1)


def data_of(task) -> Dataset:
    return Dataset({split: task.rows(split) for split in SPLITS}, "", "")


def read(task, split: str) -> list[tuple[str, str]]:
    rows = task.rows(split)
    return [*zip(map(task.spelled, sources(rows)), map(task.text, rows["targets"]))]


@pytest.mark.parametrize("corpus", CORPORA)
def test_hidden_bytes_put_back_give_the_text(corpus, few_sources):
    task = MaskedText(corpus=corpus, seq_len=64, repeats=1)
    for split in SPLITS:
        rows = task.rows(split)
        whole = np.array(rows["tokens"])
        np.put_along_axis(whole, rows["positions"].astype(int), rows["targets"], axis=1)
        step = 2 if split == "train" else 1
        text = texts(corpus)[split]
        said = whole[::step].astype(np.uint8).tobytes()
        assert said == text[: len(said)]
        assert len(text) - len(said) <= 128


def test_chosen_bytes_are_as_many_as_told_and_shown_in_three_ways():
    task = MaskedText(seq_len=100)
    rows = task.rows("train")
    assert rows["positions"].shape[1] == task.num_scored == 15
    assert (np.diff(rows["positions"].astype(int), axis=1) > 0).all()
    shown = np.take_along_axis(rows["tokens"], rows["positions"].astype(int), axis=1)
    hidden, same = (shown == MASK).mean(), (shown == rows["targets"]).mean()
    assert abs(hidden - 0.8) < 0.01
    assert abs(same - 0.1) < 0.01
    assert (np.count_nonzero(rows["tokens"] == MASK, axis=1) <= 15).all()
    assert isinstance(task.objective, Masked)
    assert not task.objective.causal


def test_a_training_window_is_masked_anew_each_time():
    once, twice = (MaskedText(repeats=n).rows("train") for n in (1, 2))
    count = len(once["tokens"])
    assert len(twice["tokens"]) == 2 * count
    np.testing.assert_array_equal(twice["tokens"][:count], once["tokens"])
    assert (twice["positions"][count:] != once["positions"]).any(axis=1).mean() > 0.99


def test_bytes_on_both_sides_tell_more_than_none():
    task = MaskedText(seq_len=128, repeats=1)
    found = task.baselines(data_of(task))
    assert found["uniform"] == np.log2(257)
    assert 2 < found["ngram"] < found["unigram"] - 1


def test_the_bits_of_a_hidden_byte_are_those_of_its_counts():
    train = np.frombuffer(b"abcabcadcab", np.uint8)
    rows = {
        "tokens": np.array([[97, 256, 99]]),
        "targets": np.array([[98]]),
        "positions": np.array([[1]]),
    }
    found = between_bits(train, rows, 257)
    assert {*found} == {1, 2, 3, 4, 5}
    unigram = (3 + 4 / 257) / (11 + 4)
    before = (3 + 2 * unigram) / (4 + 2)
    both = (2 + 2 * before) / (3 + 2)
    assert [2 ** -found[k] for k in (1, 2, 3)] == pytest.approx(
        [unigram, before, both], rel=1e-9
    )


def test_spans_put_back_into_the_source_give_the_text():
    task = SPANS
    rows, whole = task.rows("test"), b""
    for source, target, n in zip(sources(rows), rows["targets"], rows["lengths"]):
        spans, own = {}, []
        for token in target[: n - 1].tolist():
            own = spans.setdefault(token, []) if token >= 256 else own
            own += [token] * (token < 256)
        assert [*spans] == [token for token in source if token >= 256]
        whole += bytes(x for token in source for x in spans.get(token, [token]))
    text = texts("pydoc")["test"]
    assert whole == text[: len(whole)]
    assert len(text) - len(whole) < task.window


def test_a_span_s_sizes_are_a_partition_of_what_is_cut():
    task = Spans(window=100, share=0.2, mean_span=4.0)
    assert (task.num_cut, task.num_spans) == (20, 5)
    rng = np.random.default_rng(0)
    drawn = np.array([partition(rng, 20, 5) for _ in range(400)])
    assert (drawn.sum(axis=1) == 20).all()
    assert drawn.min() == 1
    np.testing.assert_allclose(drawn.mean(axis=0), 4, atol=0.5)
    assert task.vocab_size == 256 + 5 + 2


def test_n_grams_of_spans_beat_single_tokens():
    found = SPANS.baselines(data_of(SPANS))
    assert found["ngram"] < found["unigram"] < found["uniform"] == np.log2(284)


def test_a_line_and_its_body_are_of_one_docstring_and_lines_of_one_split(few_sources):
    files = [" ".join(text.decode().split()) for text in few_sources]
    lines = []
    for split in SPLITS:
        pairs = read(Summaries(), split)
        lines.append({line for _, line in pairs})
        for body, line in pairs[:20]:
            said = " ".join(f"{line} {body}".split())
            escaped = "\\" in said or not said.isprintable()
            assert escaped or any(said in text for text in files)
    assert sum(map(len, lines)) == len(set.union(*lines)) > 50
    assert lead(b"One thing. Another.") == b"One thing."


def test_an_answer_is_the_default_of_the_name_that_is_asked_for(few_sources):
    signatures = []
    for split in SPLITS:
        asked = read(Questions(), split)
        signatures.append({source.partition("? ")[2] for source, _ in asked})
        for source, answer in asked:
            name, _, signature = source.partition("? ")
            assert re.search(
                rf"\b{name}(: [^=]+)?\s?=\s?{re.escape(answer)}", signature
            )
    assert sum(map(len, signatures)) == len(set.union(*signatures)) > 20


def test_trivial_answers_are_right_less_than_always(few_sources):
    found = Questions().baselines(data_of(Questions()))
    assert {*found} == {"majority", "first_default", "last_default"}
    assert 0.1 < min(found.values()) < max(found.values()) < 0.8


def test_the_files_of_the_library_are_of_one_split_and_none_is_a_test(few_sources):
    found = texts("stdlib")
    assert sum(map(len, found.values())) > 0.99 * sum(map(len, few_sources))
    for text in few_sources[::10]:
        assert sum(text in part for part in found.values()) == 1


def test_the_library_does_not_hold_the_reference_that_is_the_other_corpus():
    from pydoc_data import topics

    assert Path(topics.__file__).read_bytes() not in library()
    assert MaskedText.version == Spans.version == "1.1.0"  # which held it


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaskedText(share=1.0), r"MaskedText\.share = 1\.0"),
        (lambda: MaskedText(seq_len=3), r"MaskedText\.seq_len = 3"),
        (lambda: MaskedText(repeats=0), r"MaskedText\.repeats = 0"),
        (lambda: MaskedText(seq_len=10**6).rows("test"), r"seq_len = 1000000; the train"),
        (lambda: Spans(mean_span=0.5), r"Spans\.mean_span = 0\.5"),
        (lambda: Spans(window=3), r"Spans\.window = 3"),
        (lambda: Spans(share=0.99), r"Spans\.window = 128; it holds no span"),
    ],
)  # fmt: skip
def test_knobs_that_cannot_be_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
