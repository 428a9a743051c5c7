import random
import shutil
from pathlib import Path

import pytest
from states import assert_same_bits, files_of, flip, make_state, restore, save_steps

from attn.errors import UserError
from attn.train.checkpoint.checkpoints import Checkpoints
from attn.train.checkpoint.sealed import SealedSteps


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Steps 1 and 2, to be copied and damaged."""
    return save_steps(tmp_path_factory.mktemp("run") / "checkpoints", 1, 2)


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def test_a_hundred_random_bit_flips_are_all_found(folder):
    draw = random.Random(0)
    files = [*files_of(folder / "2"), folder / "manifests" / "2.json"]
    sizes = [path.stat().st_size for path in files]
    steps = SealedSteps(folder, {})
    for trial in range(100):
        # Half by size, as a disk would; half by file, so that small ones are hit too.
        path = draw.choices(files, sizes if trial % 2 else None)[0]
        position = draw.randrange(8 * path.stat().st_size)
        flip(path, position)
        assert steps.fault(2) is not None, path
        if trial % 20 == 0:
            restored = restore(folder)
            assert restored.step == 1
            assert_same_bits(restored.state, make_state(1))
            assert restored.skipped[0].startswith("checkpoint 2 passed over: ")
            assert path.name in restored.skipped[0]
        flip(path, position)
    assert steps.fault(2) is None


@pytest.mark.parametrize("damage", ["remove", "truncate", "add"])
def test_every_file_missing_short_or_strange_is_found_by_name(folder, damage):
    for path in files_of(folder / "2"):
        blob = path.read_bytes()
        strange = path.with_name("strange")
        if damage == "remove":
            path.unlink()
        elif damage == "truncate":
            path.write_bytes(blob[:-1])
        else:
            strange.write_bytes(b"")
        fault = SealedSteps(folder, {}).fault(2)
        assert (strange if damage == "add" else path).name in fault
        path.write_bytes(blob)
        strange.unlink(missing_ok=True)
    assert restore(folder).step == 2


def test_an_unsealed_step_is_passed_over_and_says_so(folder):
    (folder / "manifests" / "2.json").unlink()
    restored = restore(folder)
    assert restored.step == 1
    assert "not sealed" in restored.skipped[0]


def test_a_step_killed_between_seal_and_stamps_is_good(folder, monkeypatch):
    # What the manifest holds until the next save begins: all but Orbax's two stamps.
    fresh = folder.parent / "fresh"
    checkpoints = Checkpoints(fresh)
    monkeypatch.setattr(SealedSteps, "seal_stamps", lambda self, step: None)
    checkpoints.save(1, make_state(1), {})
    checkpoints.close()
    (fresh / "1" / "_CHECKPOINT_METADATA").write_bytes(b"{")
    assert_same_bits(restore(fresh).state, make_state(1))


def test_nothing_good_left_is_refused_with_every_reason(folder):
    for step in "12":
        next((folder / step / "state" / "d").iterdir()).write_bytes(b"")
    with pytest.raises(
        UserError,
        match=r"no usable checkpoint in .*checkpoint 2 .*damaged.*checkpoint 1 ",
    ) as e:
        restore(folder)
    assert str(folder) in str(e.value)
    assert "\n" not in str(e.value)
