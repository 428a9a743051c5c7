"""Jobs are submitted until their runs have ended: again where killed, once where finished."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from attn.cli.executors.job import Job
from attn.cli.executors.supervise import TRIES, Supervisor, Work
from attn.errors import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE
from attn.records.folder import RunFolder
from attn.records.result import Result
from attn.train.signals import Stopped, StopSignal

DONE = Result(status="done", metric="accuracy", test={"accuracy": (0.5, 0.5)})
KILLED = None


class Scripted:
    """An engine whose jobs end as a script says: an exit code for each submission."""

    def __init__(self, work, script, looks=1):
        self.work = {each.job.name: each for each in work}
        self.script, self.looks, self.handles = script, looks, []

    def submit(self, jobs):
        made = [ScriptedHandle(self, job.name) for job in jobs]
        self.handles += made
        return made

    def close(self):
        pass

    def submissions(self):
        return Counter(handle.name for handle in self.handles)


class ScriptedHandle:
    """A job that is seen running a few times, and then ends."""

    def __init__(self, engine, name):
        self.engine, self.name, self.left = engine, name, engine.looks
        self.cancelled = False

    def begun(self):
        return True

    def ended(self):
        self.left -= 1
        return self.left < 0 or self.cancelled

    def code(self):
        code = self.engine.script[self.name].pop(0)
        if code == 0:
            finish(self.engine.work[self.name], DONE)
        return code

    def cancel(self):
        self.cancelled = True


class Board:
    """A board that keeps what it is told."""

    def __init__(self):
        self.notes, self.counts = [], []

    def note(self, text):
        self.notes.append(text)

    def show(self, counts):
        self.counts.append(counts)


def finish(work, result):
    folder = RunFolder(work.folder)
    folder.open(work.experiment, {})
    folder.finish(result)
    folder.close()


@pytest.fixture
def make(tmp_path):
    """Makes the work, the engine and the board of scripts by name."""

    def made(looks=1, **script):
        work = [
            Work(
                replace(tiny.experiment_of(), name=name),
                tmp_path / name,
                Job(name, (), "", (), str(tmp_path / f"{name}.log")),
            )
            for name in script
        ]
        board, stop = Board(), StopSignal()
        engine = Scripted(work, script, looks)
        return work, engine, board, Supervisor(engine, board, stop, poll_s=0.0)

    return made


@pytest.mark.parametrize("code", [KILLED, EXIT_STOPPED, -9, -11, 137])
def test_a_job_that_was_killed_is_submitted_again_alone(make, code):
    work, engine, board, supervisor = make(a=[code, code, 0], b=[0])
    assert supervisor.go(work) == []
    assert engine.submissions() == {"a": 3, "b": 1}
    assert sum("submitted again" in note for note in board.notes) == 2


def test_a_job_that_is_always_killed_is_given_up(make):
    work, engine, _, supervisor = make(a=[-9] * 9, b=[0])
    (failure,) = supervisor.go(work)
    assert engine.submissions() == {"a": TRIES, "b": 1}
    assert failure.startswith(
        f"a failed: its job ended with exit code -9, the last of {TRIES}"
    )


def test_a_refusal_is_its_last_line_and_the_others_go_on(make):
    work, engine, _, supervisor = make(a=[EXIT_USAGE], b=[0])
    Path(work[0].job.log).write_text("--- on node\nloading\nerror: no such data\n\n")
    assert supervisor.go(work) == ["a failed: no such data"]
    assert engine.submissions() == {"a": 1, "b": 1}


def test_a_failed_run_gives_the_reason_in_its_folder(make):
    work, engine, _, supervisor = make(a=[EXIT_FAILED])
    finish(work[0], replace(DONE, status="failed", error="step 3 was not finite"))
    assert supervisor.go(work) == ["a failed: step 3 was not finite"]
    assert engine.submissions() == {"a": 1}


def test_a_finished_run_is_done_however_its_job_ended(make):
    work, engine, _, supervisor = make(a=[KILLED])
    finish(work[0], DONE)
    assert supervisor.go(work) == []
    assert engine.submissions() == {"a": 1}


def test_the_board_counts_every_run_once_at_every_moment(make):
    work, _, board, supervisor = make(a=[KILLED, 0], b=[0], c=[EXIT_USAGE])
    supervisor.go(work)
    assert {counts.total() for counts in board.counts} == {3}
    assert board.counts[-1] == {"done": 2, "failed": 1}


def test_a_signal_cancels_every_job_that_is_left(make):
    work, engine, _, supervisor = make(looks=99, a=[0], b=[0])
    supervisor._stop.requested = "SIGINT"
    with pytest.raises(Stopped, match="SIGINT, 2 jobs are cancelled"):
        supervisor.go(work)
    assert all(handle.cancelled for handle in engine.handles)
