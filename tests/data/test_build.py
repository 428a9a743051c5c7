"""Datasets on disk: built once, equal everywhere, and never trusted when damaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attn
from attn.data.build import SUMS, prepare
from attn.errors import UserError
from attn.tasks import MQAR, SPLITS, TASKS, ListOps
from attn.tasks.packages import default_data_dir

TINY = MQAR(num_train=40, num_valid=8, num_test=8)
LISTS = ListOps(num_train=40, num_valid=8, num_test=8)

PREPARE = """
import sys
from pathlib import Path
from attn.tasks import MQAR, ListOps, PyDoc
from attn.data.build import prepare
sizes = dict(num_train=40, num_valid=8, num_test=8)
for task in (MQAR(**sizes), ListOps(**sizes), PyDoc()):
    print(prepare(task, Path(sys.argv[1])).sha256)
"""


def folder_of(task, data_dir: Path) -> Path:
    return data_dir / task.name / task.slug / task.version


SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""


def start(data_dir: Path, hash_seed: str, before: str = "") -> subprocess.Popen:
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", before + PREPARE, str(data_dir)],
        env=env,
        cwd=Path(attn.__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("task", [TINY, LISTS], ids=["mqar", "listops"])
def test_rows_come_back_in_order_as_they_were_generated(task, tmp_path):
    built = prepare(task, tmp_path)
    for split in SPLITS:
        rows = task.rows(split)
        assert built.splits[split].keys() == rows.keys()
        for key, array in built.splits[split].items():
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, rows[key])


def test_a_dataset_is_built_once_and_says_so_once(tmp_path):
    heard = []
    first = prepare(TINY, tmp_path, say=heard.append)
    second = prepare(TINY, tmp_path, say=heard.append)
    assert len(heard) == 1
    assert str(folder_of(TINY, tmp_path)) in heard[0]
    assert first.sha256 == second.sha256
    assert first.builder == f"mqar/{TINY.slug}/1.0.0"


def test_building_prints_nothing_and_needs_no_tensorflow(tmp_path, capfd):
    prepare(TINY, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert "tensorflow" not in sys.modules


def test_equal_configs_give_equal_hashes_and_others_do_not(tmp_path):
    other = MQAR(num_train=40, num_valid=8, num_test=8, data_seed=1)
    first = prepare(TINY, tmp_path / "a").sha256
    assert first == prepare(TINY, tmp_path / "b").sha256
    assert first != prepare(other, tmp_path / "a").sha256


def test_configs_that_differ_in_any_field_have_folders_of_their_own():
    tasks = [
        MQAR(),
        MQAR(num_pairs=2),
        MQAR(vocab_size=64),
        MQAR(power_a=0.1),
        MQAR(num_train=9),
        MQAR(data_seed=3),
        *(task() for task in TASKS.values()),
    ]
    assert len({(task.name, task.slug) for task in tasks}) == len(tasks) - 1


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data folder that holds `TINY`, to be copied and damaged."""
    prepare(TINY, folder := tmp_path_factory.mktemp("built"))
    return folder


@pytest.mark.parametrize("name", ["mqar-test.array_record*", "*info.json", SUMS])
@pytest.mark.parametrize(
    "harm",
    [
        lambda path: flip(path, 3),
        lambda path: flip(path, -1),
        lambda path: flip(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["first bytes", "last byte", "middle", "truncated", "emptied", "missing"],
)
def test_damage_names_the_folder_and_the_way_out(name, harm, built, tmp_path):
    data = shutil.copytree(built, tmp_path / "data")
    folder = folder_of(TINY, data)
    harm(next(folder.glob(name)))
    with pytest.raises(UserError) as caught:
        prepare(TINY, data)
    assert str(folder) in str(caught.value)
    assert "delete that folder" in str(caught.value)


def test_a_deleted_folder_is_rebuilt_to_the_same_bytes(tmp_path):
    first = prepare(TINY, tmp_path)
    for path in folder_of(TINY, tmp_path).iterdir():
        path.unlink()
    folder_of(TINY, tmp_path).rmdir()
    assert prepare(TINY, tmp_path).sha256 == first.sha256


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file: .*ATTN_DATA_DIR"):
        prepare(TINY, tmp_path / "file")


def test_the_first_of_two_builders_wins_and_the_other_reads_its_rows(
    tmp_path, monkeypatch
):
    first = prepare(TINY, tmp_path)
    there, asked = Path.exists, []

    def absent_at_first(path, *args, **more):
        asked.append(path)
        return len(asked) > 1 and there(path, *args, **more)

    monkeypatch.setattr(Path, "exists", absent_at_first)
    assert prepare(TINY, tmp_path).sha256 == first.sha256
    assert not list(folder_of(TINY, tmp_path).parent.glob("incomplete.*"))


def test_what_killed_builds_left_is_swept_when_it_is_old(tmp_path):
    parent = folder_of(TINY, tmp_path).parent
    for name in ("incomplete.old", "incomplete.new", "incomplete.writing"):
        (parent / name).mkdir(parents=True)
    (parent / "incomplete.writing/rows").touch()
    for name in ("incomplete.old", "incomplete.writing"):
        os.utime(parent / name, (0, 0))
    prepare(TINY, tmp_path)
    left = sorted(path.name for path in parent.iterdir())
    assert left == ["1.0.0", "incomplete.new", "incomplete.writing"]


def test_the_data_dir_is_the_variable_else_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("ATTN_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "attn" / "datasets"


@pytest.mark.slow
def test_hashes_are_equal_in_processes_with_other_hash_seeds(tmp_path):
    runs = [start(tmp_path / seed, seed) for seed in ("1", "2")]
    (first, said), (second, _) = (run.communicate(timeout=120) for run in runs)
    assert first == second
    assert len(first.split()) == 3, said


@pytest.mark.slow
def test_two_processes_may_prepare_one_folder_at_once(tmp_path):
    runs = [start(tmp_path, "0") for _ in range(2)]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert said[0] == said[1]
    assert said[0][1] == ""
    assert not list(tmp_path.rglob("incomplete.*"))


@pytest.mark.slow
def test_a_full_disk_is_a_user_error_and_leaves_nothing_behind(tmp_path):
    _, said = start(tmp_path, "0", SMALL_FILES).communicate(timeout=120)
    assert "UserError: cannot keep datasets in" in said
    assert "ATTN_DATA_DIR" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
