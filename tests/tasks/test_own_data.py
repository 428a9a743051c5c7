"""Tasks on a user's own data: known by content, split without leaks, refused in a line."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from own_data import colours, examples, write_csv, write_text

from attn.data.build import prepare
from attn.errors import UserError
from attn.tasks import SPLITS, Csv, Text, Tfds
from attn.tasks.bags import CHUNK_ROWS
from attn.tasks.text import split_end
from attn.tasks.tfds import label_name
from attn.tasks.windows import MOST, rejoined


def refused(task) -> str:
    with pytest.raises(UserError) as error:
        prepare(task.resolved())
    return str(error.value)


@pytest.mark.parametrize("vocabulary", ["bytes", "characters"])
def test_a_text_comes_back_whole_from_its_windows(tmp_path, vocabulary):
    path = write_text(tmp_path / "a.txt")
    task = Text(data=str(path), vocabulary=vocabulary, seq_len=16).resolved()
    data = prepare(task, tmp_path / "cache")
    whole = path.read_bytes() if vocabulary == "bytes" else path.read_text("utf-8")
    ids = [task.label(i) for i in range(task.vocab_size)]
    if vocabulary == "bytes":
        letters = [chr(byte) if byte < 128 else f"{byte:02x}" for byte in whole]
    else:
        letters = list(whole)
    ends = split_end(np.arange(len(letters)), task.held_out)
    for split in SPLITS:
        rows = data.splits[split]
        tokens = rejoined(rows, every=2 if split == "train" else 1)
        assert rows["tokens"].base is not None, "a view of the mapped file"
        first = ends[split][0]
        assert [ids[t] for t in tokens] == letters[first : first + len(tokens)]
        assert len(ends[split]) - len(tokens) < 2 * task.seq_len


def test_a_tokenizer_makes_pieces(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    path = write_text(tmp_path / "a.txt")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train([str(path)], tokenizers.trainers.BpeTrainer(vocab_size=60))
    made.enable_truncation(8)
    made.enable_padding(length=8)
    made.save(str(tmp_path / "tokenizer.json"))
    words = str(tmp_path / "tokenizer.json")
    task = Text(data=str(path), vocabulary=words, seq_len=16).resolved()
    rows = prepare(task, tmp_path / "cache").splits["train"]
    assert task.vocab_size == made.get_vocab_size()
    assert rows["tokens"].max() < task.vocab_size
    assert 100 < len(rejoined(rows, every=2)) < 0.6 * path.stat().st_size
    assert task.metric.name == "bits_per_token"
    made.train([str(path)], tokenizers.trainers.BpeTrainer(vocab_size=50))
    made.save(words)
    with pytest.raises(UserError, match="or its vocabulary has changed"):
        task.resolved()


def test_the_cache_is_of_the_content_and_never_stale(tmp_path):
    path, cache = write_text(tmp_path / "a.txt"), tmp_path / "cache"
    task = Text(data=str(path), seq_len=16)
    first = prepare(task.resolved(), cache)
    copied = tmp_path / "copy.txt"
    copied.write_bytes(path.read_bytes())
    again = prepare(replace(task, data=str(copied)).resolved(), cache)
    assert again.sha256 == first.sha256
    assert len(list((cache / "text").iterdir())) == 1
    known = task.resolved()
    path.write_text(path.read_text() + "!")
    assert prepare(task.resolved(), cache).sha256 != first.sha256
    with pytest.raises(UserError, match=r"has changed.*--task.sha256 ''"):
        known.resolved()
    other = replace(known, held_out=0.2, seq_len=8)
    assert prepare(other, cache).splits["test"]["tokens"].shape[1] == 8, "cut anew"


def test_an_unresolved_task_is_not_built(tmp_path):
    task = Text(data=str(write_text(tmp_path / "a.txt")))
    with pytest.raises(UserError, match=r"use task\.resolved"):
        prepare(task, tmp_path / "cache")


def test_a_folder_is_split_by_its_folders_or_by_its_end(tmp_path):
    for seed, split in enumerate(SPLITS):
        (tmp_path / "a" / split).mkdir(parents=True)
        write_text(tmp_path / "a" / split / "x.txt", 900, seed)
        (tmp_path / "a" / split / ".hidden").write_text("no")
    parted = Text(data=str(tmp_path / "a"), seq_len=16).resolved()
    for split in SPLITS:
        rows = parted.rows(split)
        tokens = rejoined(rows, every=2 if split == "train" else 1)
        whole = (tmp_path / "a" / split / "x.txt").read_bytes()
        assert bytes(tokens.astype(np.uint8)) == whole[: len(tokens)]
    (tmp_path / "a" / "test").rename(tmp_path / "a" / "rest")
    as_one = Text(data=str(tmp_path / "a"), seq_len=16).resolved()
    assert {name for name, _ in as_one.parts()} == {"all"}


@pytest.mark.parametrize(
    ("content", "knobs", "words"),
    [
        (b"", {}, "is empty"),
        (b"caf\xe9" * 200, {"vocabulary": "characters"}, "is not UTF-8 (byte 3: 0xe9)"),
        (b"short", {}, "lower --task.seq-len"),
        (b"abc" * 999, {"vocabulary": "/no/tokenizer.json"}, "no such file"),
        (
            gzip.compress(b"a" * 99, mtime=0),
            {"vocabulary": "characters"},
            "is not UTF-8",
        ),
    ],
)
def test_a_bad_text_is_refused_in_one_line(
    tmp_path, monkeypatch, content, knobs, words
):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_bytes(content)
    said = refused(Text(data=str(tmp_path / "a.txt"), **knobs))
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"seq_len": 7}, "must be even"),
        ({"held_out": 0.0}, "must be above 0"),
        ({"held_out": 0.5}, "at most 0.4"),
        ({"vocabulary": "words"}, "must be bytes, characters or the path"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_read(knobs, words):
    with pytest.raises(UserError, match=words):
        Text(data="nowhere", **knobs)


def test_equal_texts_go_into_one_split(tmp_path):
    rows = [*examples(400), *examples(400)]
    path = write_csv(tmp_path / "a.csv", rows=rows)
    task = Csv(data=str(path), seq_len=64, held_out=0.2).resolved()
    assert task.labels == ("bad", "good")
    texts = {
        split: {bytes(row[:n]) for row, n in zip(got["tokens"], got["lengths"])}
        for split in SPLITS
        for got in [task.rows(split)]
    }
    assert all(texts.values())
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["valid"]
    cut = write_csv(tmp_path / "b.csv", rows=[(f"{i // 9} a{i}", "xy"[i % 2]) for i in range(900)])  # fmt: skip
    short = Csv(data=str(cut), seq_len=2, held_out=0.2).resolved()
    train, test = ({bytes(r) for r in short.rows(s)["tokens"]} for s in SPLITS[::2])
    assert train
    assert test
    assert not train & test
    other = replace(task, data_seed=1)
    assert texts["test"] != {bytes(r[:n]) for r, n in zip(*map(other.rows("test").get, ("tokens", "lengths")))}  # fmt: skip


def test_rows_of_a_table_are_views_of_mapped_files(tmp_path):
    path = write_csv(tmp_path / "a.csv", rows=examples(400))
    task = Csv(data=str(path), seq_len=8).resolved()
    data = prepare(task, tmp_path / "cache")
    for split, rows in data.splits.items():
        for key, array in task.rows(split).items():
            np.testing.assert_array_equal(rows[key], array)
        assert isinstance(rows["tokens"].base, np.memmap)


def test_naive_bayes_in_parts_is_naive_bayes(tmp_path):
    many = examples(CHUNK_ROWS + 900)
    task = Csv(
        data=str(write_csv(tmp_path / "a.csv", rows=many)), seq_len=12
    ).resolved()
    data = prepare(task, tmp_path / "cache")
    train, test = data.splits["train"], data.splits["test"]
    logs = []
    for c in range(2):
        own = np.flatnonzero(train["targets"][:, 0] == c)
        texts = [train["tokens"][i, : train["lengths"][i]] for i in own]
        counts = np.bincount(np.concatenate(texts), minlength=256) + 1.0
        logs.append(np.log(counts / counts.sum()))
    prior = np.log(np.bincount(train["targets"][:, 0]) + 1.0)
    likeliest = [
        np.argmax([prior[c] + sum(logs[c][t] for t in row[:n]) for c in range(2)])
        for row, n in zip(test["tokens"], test["lengths"])
    ]
    score = np.mean(likeliest == test["targets"][:, 0])
    assert task.baselines(data)["bag_of_tokens"] == score


def test_a_column_may_say_the_split_and_numbers_are_in_order(tmp_path):
    rows = [(f"text {i}", str(i % 11), SPLITS[i % 3]) for i in range(66)]
    path = write_csv(tmp_path / "a.tsv", columns=("review", "stars", "part"), rows=[])
    lines = ["\t".join(row) for row in rows]
    path.write_text("\n".join(["review\tstars\tpart", *lines]))
    task = Csv(
        data=str(path), text_column="review", label_column="stars", split_column="part"
    ).resolved()
    assert task.labels == tuple(map(str, range(11))), "2 before 10"
    assert [len(task.rows(split)["tokens"]) for split in SPLITS] == [22, 22, 22]
    assert bytes(task.rows("train")["tokens"][0][:6]) == b"text 0"
    assert task.baselines(prepare(task, tmp_path / "cache"))["chance"] == 1 / 11


@pytest.mark.parametrize(
    ("content", "knobs", "words"),
    [
        ("", {}, "is empty"),
        ("text,label\n", {}, "has no examples"),
        ("text,label\na,1\nb,1\n", {}, "only the label '1'"),
        ("texts,label\na,1\n", {}, "did you mean 'texts'? (--task.text-column)"),
        ("text,label\na,1\nb\n", {}, "line 3 has not as many fields"),
        ("text,label\n,1\n", {}, "line 2 has no text"),
        ("text,label\na,1\nb,\n", {}, "line 3 has no label; fill it"),
        ('text,label\n"a,1\n', {}, "is no CSV"),
        ("text,label,s\na,1,dev\n", {"split_column": "s"}, "unknown split 'dev'"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path, content, knobs, words):
    (tmp_path / "a.csv").write_text(content)
    said = refused(Csv(data=str(tmp_path / "a.csv"), **knobs))
    assert words in said
    assert "\n" not in said


def test_a_tfds_dataset_is_read_from_disk(own_tasks, tmp_path):
    task = own_tasks["tfds"]
    assert task.labels == ("bad", "good")
    data = prepare(task, tmp_path)
    counts = [len(data.splits[split]["tokens"]) for split in SPLITS]
    assert counts[2] == 60
    assert sum(counts) == 300
    assert counts[1] > 5
    assert task.baselines(data)["bag_of_tokens"] > 0.8


def test_images_of_a_tfds_dataset_are_read_value_by_value(own_tasks, tmp_path):
    # Two images are all there are; this seed puts one of them into valid.
    task = Tfds(
        data="letters", text_column="pixels", seq_len=8, data_seed=22
    ).resolved()
    rows = prepare(task, tmp_path).splits["test"]
    assert set(rows["lengths"]) == {4}
    expected = np.where(rows["targets"] == task.labels.index("good"), 200, 3)
    np.testing.assert_array_equal(rows["tokens"][:, :4], np.repeat(expected, 4, axis=1))


def test_coloured_images_are_read_as_grey_pixels(own_tasks, tmp_path):
    task = Tfds(data="letters", text_column="colours", seq_len=8, grey=True).resolved()
    data = prepare(task, tmp_path)
    rows = data.splits["test"]
    assert set(rows["lengths"]) == {4}
    good = rows["targets"][:, 0] == task.labels.index("good")
    images = np.stack([colours(i, own, 2) for i, own in enumerate(good)]) / 255
    # As tf.image.rgb_to_grayscale does with bytes: up from one half of a level.
    expected = images @ [0.2989, 0.5870, 0.1140] * 255.5
    np.testing.assert_array_equal(rows["tokens"][:, :4], expected.reshape(-1, 4) // 1)
    said = task.baselines(data)
    assert said["logistic_regression"] > 0.95 > said["bag_of_tokens"]
    coloured = replace(task, grey=False, sha256="").resolved()
    assert coloured.sha256 != task.sha256
    assert "logistic_regression" in coloured.baselines(prepare(coloured, tmp_path))
    assert "logistic_regression" not in own_tasks["tfds"].baselines(data)


@pytest.mark.parametrize("column", ["text", "pixels"])
def test_grey_is_of_three_channels(own_tasks, column):
    said = refused(Tfds(data="letters", text_column=column, grey=True))
    assert f"{column} holds " in said
    assert "no pixels of 3 channels" in said
    assert "--task.no-grey" in said


@pytest.mark.parametrize("value", [-1, 0.5, "good", np.array([1, 0])])
def test_an_example_without_a_label_is_refused(value):
    assert [label_name(x, ["bad", "good"], "") for x in (0, np.int64(1))] == [
        "bad",
        "good",
    ]
    with pytest.raises(UserError, match="test example 3 has no label"):
        label_name(value, ["bad", "good"], "test example 3")


def test_a_file_with_the_name_of_a_vocabulary_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Text(data=str(write_text(tmp_path / "a.txt")))
    before = task.resolved()
    (tmp_path / "bytes").write_text("other")
    assert task.resolved() == before


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"data": "leters"}, "unknown TFDS name 'leters'"),
        ({"data": "letters", "text_column": "txt"}, "did you mean 'text'?"),
        ({"data": ""}, "has no data; name them, as in --task tfds:imdb_reviews"),
    ],
)
def test_a_bad_tfds_name_is_refused_in_one_line(own_tasks, knobs, words):
    said = refused(Tfds(**knobs))
    assert words in said
    assert "\n" not in said


def test_a_dataset_that_cannot_be_downloaded_is_one_line(own_tasks, monkeypatch):
    import socket

    def no_network(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    said = refused(Tfds(data="imdb_reviews"))
    assert "cannot be downloaded" in said
    assert "\n" not in said


def test_baselines_of_a_long_text_use_its_end(tmp_path):
    rows = {"targets": np.zeros((MOST // 8 + 5, 8), np.uint8)}
    rows["tokens"] = rows["targets"]
    assert len(rejoined(rows)) == MOST + 1


def test_the_resolved_task_is_plain_data(own_tasks):
    from attn.config import Experiment
    from attn.config.codec import from_json, to_json

    for name, task in own_tasks.items():
        experiment = Experiment(name, "None.", task)
        assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment
