"""Several processes of one command: none outlives another, and what is killed is restarted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attn.cli import supervisor, training
from attn.cli.options import Where
from attn.errors import UserError
from attn.parallel.mesh import MeshShape

ROOT = Path(__file__).parents[2]
HEAD = """
import os, pathlib, signal, sys, time
from attn.cli import ending, process, supervisor
process.watch_signals()
process.end_with_supervisor()
here = pathlib.Path(sys.argv[-1])
if process.SUPERVISED not in os.environ:
    assert "jax" not in sys.modules
    supervisor.GRACE_SECONDS, supervisor.BACK_OFF = 0.5, (0, 0)
    sys.exit(ending.run(lambda: supervisor.supervise(2)))
index = int(os.environ["JAX_PROCESS_ID"])
process.tell(here)
(here / f"pid-{time.time()}").write_text(str(os.getpid()))
turn = len(list(here.glob(f"turn-{index}-*")))
(here / f"turn-{index}-{turn}").touch()
"""


@pytest.fixture
def start(tmp_path):
    """Starts a supervisor of two processes that run these lines."""
    children = []

    def begin(lines: str) -> subprocess.Popen:
        script = tmp_path / "script.py"
        script.write_text(HEAD + lines)
        (tmp_path / "runs").mkdir()
        command = [sys.executable, str(script), str(tmp_path / "runs")]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        children.append(subprocess.Popen(command, env=env, **pipes))
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def ended(child: subprocess.Popen) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def turns(folder: Path) -> list[int]:
    """How often each process was started."""
    return [len(list(folder.glob(f"runs/turn-{index}-*"))) for index in (0, 1)]


def are_running(folder: Path) -> bool:
    pids = [int(path.read_text() or 0) for path in folder.glob("runs/pid-*")]
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def wait_for(met, seconds: float = 30) -> float:
    """The seconds until a condition is met."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def test_the_first_alone_is_heard_and_all_end_well(start, tmp_path):
    code, out, err = ended(start("print('process', index)"))
    assert (code, out, err) == (0, "process 0\n", "")
    assert turns(tmp_path) == [1, 1]


def test_a_process_that_is_killed_takes_the_others_along_and_all_start_again(
    start, tmp_path
):
    code, out, err = ended(
        start(
            "while len(list(here.glob('turn-*'))) % 2:\n"
            "    time.sleep(0.02)\n"
            "if turn == 0 and index == 1:\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "if turn == 0:\n"
            "    time.sleep(60)\n"
            "print('done')\n"
        )
    )
    assert (code, out) == (0, "done\n")
    said = "process 1 of 2 was ended by SIGKILL; all start again from the newest"
    assert said in err
    assert turns(tmp_path) == [2, 2]


def test_restarts_without_a_new_checkpoint_are_counted_and_end(start, tmp_path):
    code, _, err = ended(
        start(
            "if turn < 4:\n"
            "    (here / f'{turn}.json').touch()\n"
            "if index == 0:\n"
            "    time.sleep(60)\n"
            "time.sleep(0.3)\n"
            "os.kill(os.getpid(), signal.SIGSEGV)\n"
        )
    )
    assert code == 1
    last = "ended by SIGSEGV, and 2 restarts in a row reached no new checkpoint"
    assert last in err.splitlines()[-1]
    assert turns(tmp_path)[1] == 6  # four that gained something, and two in a row


@pytest.mark.parametrize("index, shown", [(0, "bad"), (1, "process 1: bad")])
def test_a_refusal_of_one_ends_all_with_its_line_and_no_restart(
    start, tmp_path, index, shown
):
    code, _, err = ended(
        start(
            f"if index == {index}:\n"
            "    sys.exit(print('bad', file=sys.stderr) or 2)\n"
            "time.sleep(60)\n"
        )
    )
    assert (code, err) == (2, f"{shown}\n")
    assert turns(tmp_path)[index] == 1
    assert not are_running(tmp_path)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks in /proc")
def test_no_process_is_left_when_the_supervisor_is_killed(start, tmp_path):
    child = start("time.sleep(60)\n")
    wait_for(lambda: turns(tmp_path) == [1, 1])
    assert are_running(tmp_path)
    child.kill()
    assert wait_for(lambda: not are_running(tmp_path)) < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_ends_all_with_75(start, tmp_path, number):
    child = start("time.sleep(60)\n")
    wait_for(lambda: turns(tmp_path) == [1, 1])
    child.send_signal(number)
    code, _, err = ended(child)
    assert code == 75
    assert err == f"stopped by {number.name}; the same command goes on from here\n"
    assert not are_running(tmp_path)


def test_a_first_process_that_cannot_stop_is_ended_and_the_stop_is_said(
    start, tmp_path
):
    child = start(
        "if index == 0:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "(here / f'ready-{index}').touch()\n"
        "time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    wait_for(lambda: len(list(tmp_path.glob("runs/ready-*"))) == 2)
    child.send_signal(signal.SIGTERM)
    code, _, err = ended(child)
    assert code == 75
    assert err == "stopped by SIGTERM; the same command goes on from here\n"


def test_what_fails_after_a_signal_is_told_where_the_first_process_hangs(
    start, tmp_path
):
    child = start(
        "fail = lambda *_: sys.exit(print('bad', file=sys.stderr) or 1)\n"
        "hang = lambda *_: None\n"
        "signal.signal(signal.SIGTERM, fail if index else hang)\n"
        "(here / f'ready-{index}').touch()\n"
        "time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    wait_for(lambda: len(list(tmp_path.glob("runs/ready-*"))) == 2)
    child.send_signal(signal.SIGTERM)
    code, _, err = ended(child)
    assert (code, err) == (1, "process 1: bad\n")


@pytest.mark.parametrize(
    "words, why",
    [
        ("--nprocs two", "--nprocs two: give a number of processes"),
        ("--nprocs=0", "--nprocs 0: give a number of processes"),
        ("--nprocs 2", "does not divide the 1 devices of --mesh data=1"),
        ("--nprocs 3 --mesh data=2,heads=2", "does not divide the 4 devices"),
        ("--mesh=data=2 --nprocs 2", "give it in a shell"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused_before_any_starts(words, why):
    with pytest.raises(UserError, match=why):
        supervisor.asked(["run", "recall_linear", *words.split()])


@pytest.mark.parametrize("executor", ["--executor slurm", "--executor=ray"])
def test_one_launcher_starts_jobs(executor):
    words = ["run", "recall_linear", "--nprocs", "1", *executor.split()]
    with pytest.raises(UserError, match="--nprocs 1 starts processes here, and --exec"):
        supervisor.asked(words)


@pytest.mark.parametrize("own", ["--experiments own.py", "--experiments=own.py"])
@pytest.mark.parametrize("at", [0, 2, 6])
def test_a_users_experiments_may_stand_anywhere(monkeypatch, own, at):
    words = "run mine --mesh data=4 --nprocs 2".split()
    typed = [*words[:at], *own.split(), *words[at:]]
    monkeypatch.setattr(sys, "orig_argv", ["python", "launch.py", *typed])
    assert supervisor.asked(words) == 2


@pytest.mark.parametrize(
    ("index", "code", "ends"),
    [
        (0, 0, 0),
        (0, 1, 1),
        (0, 75, 75),
        (0, -9, 75),
        (1, 75, 75),
        (1, -9, 75),
        (1, 2, 2),
    ],
)
def test_a_process_that_fails_after_a_signal_has_failed(
    monkeypatch, capsys, index, code, ends
):
    monkeypatch.setattr(supervisor, "NUMBERS", ())
    signals = supervisor._Signals()
    signals.came = "SIGTERM"
    assert signals.stopped(index, code) == ends
    said = "stopped by SIGTERM" in capsys.readouterr().err
    assert said == (code < 0 or (index, code) == (1, 75))


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_diverged_is_the_first_process_to_report(
    monkeypatch, tmp_path, first
):
    for name, done in (("is_first", first), ("leave", None)):
        monkeypatch.setattr(f"attn.parallel.processes.{name}", lambda done=done: done)
    monkeypatch.setattr(training, "connect", lambda *_: None)
    monkeypatch.setattr(training, "_report", lambda root, failures: len(failures))
    monkeypatch.setattr(
        "attn.train.study.run_all",
        lambda runs, *, watcher, mesh_shape, study, tunings: ["one failed: diverged"],
    )
    code = training.train([], tmp_path / "swept", MeshShape(), Where(), "swept")
    assert code == int(first)  # the end of another cuts the first one's report short


def test_commands_that_do_not_train_start_no_processes():
    assert supervisor.asked(["list", "--nprocs", "2"]) == 1
    assert supervisor.asked(["run", "recall_linear"]) == 1
