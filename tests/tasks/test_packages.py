"""Data packages: what is refused, the archives' formats, and the tasks that read them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from tiny_packages import HEADERS, TEST, TRAIN, VALID, deb_of, idx_of, images, mails

from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, Mails, Pixels
from attn.tasks.archives import open_deb, read_idx
from attn.tasks.mails import LONGEST, read_bodies
from attn.tasks.packages import PACKAGES, archive, place


def data_of(task) -> Dataset:
    return Dataset({split: task.rows(split) for split in SPLITS}, "", "")


def bodies(rows) -> list[bytes]:
    return [row[:n].tobytes() for row, n in zip(rows["tokens"], rows["lengths"])]


@pytest.mark.parametrize("task", [Pixels(), Mails()], ids=lambda task: task.name)
def test_an_absent_package_is_named_with_the_command_that_gets_it(
    task, tmp_path, monkeypatch
):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    words = (
        f"task '{task.name}' needs the data package {task.package}, which is not here; "
        f"run: python launch.py fetch {task.package}"
    )
    for ask in (task.check, lambda: task.rows("test")):
        with pytest.raises(UserError) as caught:
            ask()
        assert str(caught.value) == words


def test_a_damaged_archive_is_refused_with_both_hashes(tiny_packages, monkeypatch):
    right = replace(PACKAGES["spam-assassin"], sha256="f00d" * 16)
    monkeypatch.setitem(PACKAGES, "spam-assassin", right)
    found = hashlib.sha256(place(right).read_bytes()).hexdigest()
    with pytest.raises(UserError) as caught:
        Mails().check()
    for words in (
        right.file,
        found[:12],
        "f00df00df00d",
        "launch.py fetch spam-assassin",
    ):
        assert words in str(caught.value)


def test_a_hash_is_read_once_while_the_file_stays_as_it_is(tiny_packages, monkeypatch):
    path = archive("spam-assassin")
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert archive("spam-assassin") == path
    copied = tiny_packages / "copied"
    copied.write_bytes(path.read_bytes())
    monkeypatch.setattr("attn.tasks.packages.place", lambda package: copied)
    with pytest.raises(TypeError):
        archive("spam-assassin")


def test_an_unknown_package_is_named():
    with pytest.raises(UserError, match="did you mean 'fashion-mnist'"):
        archive("fashion-mnits")


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_a_package_is_pinned(package):
    assert len(bytes.fromhex(package.sha256)) == 32
    assert package.version in package.file
    assert package.size > 10**5


def test_a_debian_package_is_read_without_debian(tmp_path):
    path = tmp_path / "a.deb"
    path.write_bytes(deb_of({"./usr/a": b"odd", "./usr/b": b"1234"}))
    with open_deb(path) as tar:
        assert [member.size for member in tar] == [3, 4]
    path.write_bytes(path.read_bytes().replace(b"\xfd7zXZ", b"\xfd7zYZ"))
    with pytest.raises(UserError, match=r"a\.deb holds data\.tar\.xz"):
        open_deb(path)
    path.write_bytes(b"!<arch>\n")
    with pytest.raises(UserError, match=r"holds no data\.tar"):
        open_deb(path)


def test_an_idx_file_is_an_array_of_bytes():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(read_idx(idx_of(array)), array)


def test_images_are_those_of_the_package_each_once(tiny_packages):
    (drawn, labels), (test, test_labels) = images(TRAIN + VALID, 0), images(TEST, 1)
    rows = [Pixels().rows(split) for split in SPLITS]
    assert [len(r["tokens"]) for r in rows] == [TRAIN, VALID, TEST]
    np.testing.assert_array_equal(rows[2]["tokens"], test.reshape(TEST, -1))
    np.testing.assert_array_equal(rows[2]["targets"][:, 0], test_labels)
    ours = np.concatenate([np.hstack([r["tokens"], r["targets"]]) for r in rows[:2]])
    theirs = np.hstack([drawn.reshape(len(drawn), -1), labels[:, None]])
    assert {*map(bytes, ours)} == {*map(bytes, theirs)}
    assert bytes(ours[0]) != bytes(theirs[0])


def test_another_seed_takes_other_valid_images(tiny_packages):
    one, other = (Pixels(data_seed=seed).rows("valid")["tokens"] for seed in (0, 1))
    assert (one != other).any()


def test_a_weighted_sum_of_pixels_finds_a_bright_line(tiny_packages):
    found = Pixels().baselines(data_of(Pixels()))
    assert found["chance"] == found["majority"] == 0.1
    assert found["class_mean"] == found["logistic_regression"] == 1


def test_every_body_is_read_once_without_its_headers(tiny_packages):
    found = [body for s in SPLITS for body in bodies(Mails(seq_len=100).rows(s))]
    assert len(found) == len({*found})
    assert {*found} == {body.strip() for body in mails().values()} - {b""}
    assert not any(b"X-Filter" in body for body in found)
    assert b"X-Filter" in HEADERS


def test_the_label_is_that_of_the_folder(tiny_packages):
    for split in SPLITS:
        rows = Mails(seq_len=100).rows(split)
        spam = [body.startswith(b"BUY") for body in bodies(rows)]
        assert rows["targets"][:, 0].tolist() == spam
        assert {*spam} == {False, True}


def test_no_two_splits_share_a_row_when_bodies_are_cut(tiny_packages):
    rows = [{*bodies(Mails(seq_len=14).rows(split))} for split in SPLITS]
    assert sum(map(len, rows)) == len(set.union(*rows)) < 300


def test_mails_are_as_long_as_is_said_and_padded_with_zeros(tiny_packages):
    rows = Mails(seq_len=30).rows("train")
    after = np.arange(30) >= rows["lengths"][:, None]
    assert (rows["tokens"] == 0)[after].all()
    assert (rows["tokens"] > 0)[~after].all()
    assert 0 < after.mean() < 0.5
    assert rows["lengths"].max() == 30


def test_bytes_and_lengths_tell_spam_that_differs_in_them(tiny_packages):
    found = Mails(seq_len=100).baselines(data_of(Mails(seq_len=100)))
    assert found["bag_of_tokens"] == 1
    assert found["majority"] < found["length"] < 1


@pytest.mark.parametrize("task", [Pixels(), Mails()], ids=lambda task: task.name)
def test_the_version_of_the_package_is_in_the_folder_name(task):
    assert task.slug.endswith(f"{task.package}-{PACKAGES[task.package].version}")


def test_an_image_cannot_have_another_length():
    with pytest.raises(UserError, match=r"Pixels\.seq_len = 28"):
        Pixels(seq_len=28)


REAL = {Pixels(): [55_000, 5_000, 10_000, 1_000], Mails(): [4_639, 578, 634, 454]}
"""Rows of each split, and test rows of the commonest label."""


@pytest.mark.parametrize("task", REAL, ids=lambda task: task.name)
def test_the_real_package_has_the_rows_that_are_told(task):
    if not place(PACKAGES[task.package]).exists():
        pytest.skip(f"no {task.package} here; python launch.py fetch {task.package}")
    rows = task.split_rows()
    commonest = np.bincount(rows["test"]["targets"][:, 0]).max()
    assert [*(len(rows[split]["tokens"]) for split in SPLITS), commonest] == REAL[task]


def test_the_longest_real_mail_is_as_long_as_a_row_may_be():
    if not place(PACKAGES["spam-assassin"]).exists():
        pytest.skip("no spam-assassin here; python launch.py fetch spam-assassin")
    assert max(len(body) for body, _ in read_bodies(Mails().archive())) == LONGEST
    with pytest.raises(UserError, match=r"Mails\.seq_len = 299384; the longest mail"):
        Mails(seq_len=LONGEST + 1)
