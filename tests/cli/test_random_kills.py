"""A run that is ended at any moment goes on to the bits of one that was left alone."""

import signal
import time

import pytest
from random_runs import Starter, await_moment, finish, leave_alone, lost, same, saved

SAVED = 25
"""The steps from one checkpoint to the next."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    words = f"--train.steps 500 --train.eval-every 100 --train.save-every {SAVED}"
    start = Starter(tmp_path_factory.mktemp("data"), words)
    yield start
    start.end()


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    return leave_alone(start, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_ended_at_a_random_moment_goes_on_to_the_same_bits(
    start, whole, tmp_path, number, turn
):
    folder = tmp_path / "run"
    process = start(folder)
    await_moment(folder, whole, f"{number.name} {turn}", training=turn % 2 == 0)
    process.send_signal(number)
    sent = time.monotonic()
    said, _ = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode in (75, 0, -number), said
        assert b"Traceback" not in said
        assert time.monotonic() - sent < 2
    assert lost(folder) <= SAVED
    goes_on = bool(saved(folder)) and not (folder / "result.json").exists()
    said = finish(start(folder))
    assert (b"resumed after step" in said) == goes_on, said
    assert same(folder, whole.folder)
