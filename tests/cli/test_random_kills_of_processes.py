"""Processes of which one is killed go on to the bits of a run that was left alone."""

import os
import signal
import time
from pathlib import Path

import pytest
from random_runs import Starter, await_moment, finish, leave_alone, lost, same, saved

SAVED = 25
"""The steps from one checkpoint to the next."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    words = (
        f"--train.steps 250 --train.eval-every 50 --train.save-every {SAVED} "
        "--mesh data=2 --nprocs 2"
    )
    start = Starter(tmp_path_factory.mktemp("data"), words)
    yield start
    start.end()


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    return leave_alone(start, tmp_path_factory.mktemp("runs"))


def kill(supervisor: int, which: int, folder: Path) -> bool:
    """Kills one of the processes of a run; False where the run has ended."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    until = time.monotonic() + 90
    while len(ids := children.read_text().split()) < 2:
        if (folder / "result.json").exists():
            return False
        assert time.monotonic() < until, "two processes never ran"
        time.sleep(0.02)
    os.kill(int(ids[which]), signal.SIGKILL)
    return True


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("turn", range(10))
def test_processes_of_which_one_is_killed_go_on_to_the_same_bits(
    start, whole, tmp_path, turn
):
    folder, which = tmp_path / "run", turn % 2
    run = start(folder)
    await_moment(folder, whole, f"{turn}", training=turn < 8)
    goes_on = bool(saved(folder))
    killed = kill(run.pid, which, folder)
    ended = (folder / "result.json").exists()
    assert lost(folder) <= SAVED
    said = finish(run)
    if killed and not ended:
        assert f"process {which} of 2 was ended by".encode() in said, said
        assert b"resumed after step" in said or not goes_on, said
    assert same(folder, whole.folder)
