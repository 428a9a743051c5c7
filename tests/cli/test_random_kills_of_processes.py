"""Processes of which one is killed go on to the bits of a run that was left alone."""

import os
import signal
import time
from pathlib import Path

import pytest
from random_runs import SAVED, await_moment, finish, lost, same, saved

WORDS = "--train.steps 250 --train.eval-every 50 --mesh data=2 --nprocs 2"


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
    training = turn < 8
    await_moment(folder, whole, f"{turn}", training=training)
    goes_on = bool(saved(folder))
    killed = kill(run.pid, which, folder)
    ended = (folder / "result.json").exists()
    assert lost(folder) <= SAVED
    said = finish(run)
    assert not training or (killed and not ended)
    if killed and not ended:
        assert f"process {which} of 2 was ended by".encode() in said, said
        assert b"resumed after step" in said or not goes_on, said
    assert same(folder, whole.folder)
