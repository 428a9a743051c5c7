"""A run that is ended at any moment goes on to the bits of one that was left alone."""

import signal
import time

import pytest
from random_runs import SAVED, await_moment, finish, lost, same, saved

WORDS = "--train.steps 500 --train.eval-every 100"


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
