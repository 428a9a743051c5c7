import errno
import logging
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from states import (
    abstract_of,
    assert_same_bits,
    files_of,
    flip,
    make_state,
    mesh_of,
    restore,
    save_steps,
)

from attn.errors import UserError
from attn.train.checkpoint import sealed
from attn.train.checkpoint.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Steps 1 and 2, to be copied and damaged."""
    return save_steps(tmp_path_factory.mktemp("run") / "checkpoints", 1, 2)


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def test_a_state_comes_back_bit_for_bit_with_keys_tuples_and_position(folder):
    restored = restore(folder)
    assert (restored.step, restored.data, restored.skipped) == (
        2,
        {"next_index": 2},
        (),
    )
    assert_same_bits(restored.state, make_state(2))
    again = jax.random.normal(restored.state["key"][1])
    assert again == jax.random.normal(make_state(2)["key"][1])


@pytest.mark.parametrize("shape", [(4, 2), (1, 8), (8, 1)])
def test_a_state_comes_back_bit_for_bit_on_another_mesh(folder, shape):
    mesh = mesh_of(*shape)
    restored = Checkpoints(folder).restore(abstract_of(make_state(2), mesh))
    assert_same_bits(restored.state, make_state(2))
    assert restored.state["params"]["w"].sharding == NamedSharding(
        mesh, P("data", "heads")
    )


def test_no_checkpoint_is_none_and_reading_writes_nothing(tmp_path):
    assert restore(tmp_path / "none") is None
    assert not list(tmp_path.iterdir())


def test_only_the_newest_are_kept_and_their_manifests_with_them(tmp_path):
    save_steps(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3", "4", "manifests"]
    assert sorted(p.name for p in (tmp_path / "manifests").iterdir()) == [
        "3.json",
        "4.json",
    ]


def test_a_step_is_sealed_before_it_is_committed(tmp_path, monkeypatch):
    def full(seal, folder, **_):
        assert folder.name == "1.orbax-checkpoint-tmp"
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(sealed, "write_seal", full)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1), {})
    with pytest.raises(
        UserError, match=r"checkpoint 1 could .* No space left on device"
    ):
        checkpoints.close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_is_a_warning_and_two_in_a_row_an_error(
    folder, monkeypatch, caplog
):
    seal, faults = sealed.write_seal, [1, 0, 1, 1]

    def sometimes_full(*args, **kwargs):
        if faults.pop(0):
            raise OSError(errno.ENOSPC, "full")
        seal(*args, **kwargs)

    monkeypatch.setattr(sealed, "write_seal", sometimes_full)
    checkpoints = Checkpoints(folder)
    for step in (3, 4, 5, 6):
        checkpoints.save(step, make_state(step), {})
    assert [r.message.split(" in ")[0] for r in caplog.records] == [
        "checkpoint 3 could not be saved",
        "checkpoint 5 could not be saved",
    ]
    with pytest.raises(UserError, match=r"checkpoint 6 .*checkpoints kept: 4, 2"):
        checkpoints.save(7, make_state(7), {})
    checkpoints.close()
    assert_same_bits(restore(folder).state, make_state(4))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"checkpoint 1 .*/file/run: Not a directory; make"
    ):
        save_steps(tmp_path / "file" / "run", 1)


def test_a_restore_sees_the_save_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1), {})
    assert checkpoints.restore(abstract_of(make_state(0))).step == 1
    checkpoints.save(2, make_state(2), {})
    assert checkpoints.restore(abstract_of(make_state(0))).step == 2
    checkpoints.close()


def test_an_error_that_is_not_the_disks_is_not_swallowed(folder, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(sealed, "write_seal", broken)
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, make_state(3), {})
    with pytest.raises(ZeroDivisionError, match="a bug"):
        checkpoints.save(4, make_state(4), {})
    checkpoints.close()
    assert restore(folder).step == 2


def test_training_goes_on_from_the_older_step_and_replaces_the_damaged_one(folder):
    flip(next((folder / "2" / "state" / "d").iterdir()), 77)
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(abstract_of(make_state(0))).step == 1
    checkpoints.save(2, make_state(2), {"next_index": 2})
    checkpoints.close()
    restored = restore(folder)
    assert (restored.step, restored.skipped) == (2, ())
    assert_same_bits(restored.state, make_state(2))


def test_a_step_older_than_a_damaged_one_can_be_saved(folder):
    shutil.move(folder / "2", folder / "20")
    shutil.move(folder / "manifests" / "2.json", folder / "manifests" / "20.json")
    flip(next((folder / "20" / "state" / "d").iterdir()), 77)
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(abstract_of(make_state(0))).step == 1
    checkpoints.save(3, make_state(3), {})
    checkpoints.close()
    assert sorted(p.name for p in folder.iterdir()) == ["1", "3", "manifests"]


def test_saving_a_step_again_leaves_it_alone(folder):
    before = {path: path.read_bytes() for path in files_of(folder)}
    save_steps(folder, 2)
    assert {path: path.read_bytes() for path in files_of(folder)} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s | {"half": s["half"].astype("float32")},
            r"holds half as bfloat16\[3\] where float32\[3\]",
        ),
        (
            lambda s: s | {"params": {"w": s["params"]["w"].T}},
            r"params/w as float32\[16,64\] where float32\[64,16\]",
        ),
        (lambda s: s | {"more": s["half"]}, "holds more as nothing"),
        (
            lambda s: {k: v for k, v in s.items() if k != "half"},
            "where nothing is wanted",
        ),
    ],
)
def test_another_dtype_shape_or_tree_is_refused_by_name(folder, change, message):
    with pytest.raises(UserError, match=message):
        Checkpoints(folder).restore(abstract_of(change(make_state(0))))


def test_keys_that_orbax_would_rename_are_refused(tmp_path):
    with pytest.raises(TypeError, match="keys must be strings"):
        Checkpoints(tmp_path).save(1, {"layer": {0: jnp.ones(2)}}, {})
    with pytest.raises(UserError, match="keep = 0"):
        Checkpoints(tmp_path, keep=0)
    assert not list(tmp_path.iterdir())


def test_what_kills_left_behind_is_removed_by_the_next_save(folder):
    (folder / "3.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (folder / "manifests" / "3.json").write_text("{}")
    assert restore(folder).step == 2
    save_steps(folder, 4)
    assert sorted(p.name for p in folder.iterdir()) == ["2", "4", "manifests"]
    assert sorted(p.name for p in (folder / "manifests").iterdir()) == [
        "2.json",
        "4.json",
    ]


def test_orbax_says_nothing(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        save_steps(tmp_path, 1)
        restore(tmp_path)
    assert [r for r in caplog.records if "orbax" in r.pathname.split(os.sep)] == []
