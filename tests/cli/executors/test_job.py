"""The process of a job: its exit code, its log, its end when asked or with its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attn.cli.executors.job import Job, Process
from attn.cli.executors.options import Slurm
from attn.cli.process import SUPERVISED
from attn.errors import EXIT_STOPPED
from attn.parallel.processes import VARIABLES

ROOT = Path(__file__).parents[3]
SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("begun", flush=True)
time.sleep(60)
"""


@pytest.fixture
def job(tmp_path):
    """Makes a job of a Python program."""

    def made(program, name="run", env=()):
        command = (sys.executable, "-I", "-c", program)
        return Job(name, command, str(tmp_path), env, str(tmp_path / f"{name}.log"))

    return made


def until(holds, seconds=60):
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_begun(job):
    return "begun" in Path(job.log).read_text()


def test_a_job_runs_in_its_folder_and_returns_its_exit_code(job, tmp_path):
    said = "import os; print(os.getcwd(), os.environ['ATTN_X']); raise SystemExit(3)"
    one = job(said, env=(("ATTN_X", "seven"),))
    assert one.run() == 3
    first, second = Path(one.log).read_text().splitlines()
    assert first.startswith("--- on ")
    assert second == f"{tmp_path} seven"


def test_a_job_has_no_place_among_the_processes_of_its_launcher(job, monkeypatch):
    place = (SUPERVISED, *VARIABLES)
    for name in place:
        monkeypatch.setenv(name, "1")
    said = f"import os; print([n for n in {place} if n in os.environ])"
    one = job(said, env=tuple((name, "1") for name in place))
    assert one.run() == 0
    assert Path(one.log).read_text().splitlines()[-1] == "[]"


def test_a_job_ends_by_its_own_signal_and_not_by_those_of_the_parent(job):
    one = job("import os; os.kill(os.getpid(), 12); os.kill(os.getpid(), 9)")
    assert signal.SIGUSR2 == 12
    assert one.run() == -9


def test_a_job_saves_where_a_signal_handler_ends_it(job):
    process = Process(one := job(SAVES))
    before = signal.signal(signal.SIGUSR1, lambda *_: process.end())
    try:
        until(lambda: has_begun(one))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert process.wait() == EXIT_STOPPED
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_sigterm_is_passed_on_and_its_handler_put_back(job):
    before = signal.getsignal(signal.SIGTERM)
    process = Process(one := job(SAVES))
    with process.ended_with_this():
        until(lambda: has_begun(one))
        os.kill(os.getpid(), signal.SIGTERM)
        assert process.wait() == EXIT_STOPPED
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes")
def test_a_job_does_not_outlive_the_process_that_began_it(job, tmp_path):
    one = job("import os; print(os.getpid(), flush=True); import time; time.sleep(60)")
    program = f"from attn.cli.executors.job import Job; {one!r}.run()"
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    until(
        lambda: (
            Path(one.log).exists() and len(Path(one.log).read_text().split("\n")) > 2
        )
    )
    pid = int(Path(one.log).read_text().split()[-1])
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    until(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.fixture
def submitit_local(tmp_path):
    """submitit's processes of this machine, in the place of SLURM."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    from attn.cli.executors.on_slurm import Submitit

    return Submitit(tmp_path / "submitit", "test", Slurm(), cluster="local")


AGAIN = f"""
import os
if os.path.exists("been"):
    print("again")
    raise SystemExit(0)
open("been", "w").close()
{SAVES}
"""


@pytest.mark.slow
def test_submitit_gives_exit_codes_and_says_what_was_killed(submitit_local, job):
    die = "import os; print('begun', flush=True); os.kill(os.getppid(), 9)"
    jobs = [job("raise SystemExit(3)", "ends"), job(die, "dies"), job(AGAIN, "saves")]
    ends, dies, saves = submitit_local.submit(jobs)
    until(lambda: Path(jobs[2].log).exists() and has_begun(jobs[2]))
    (task,) = (
        Path(f"/proc/{saves.job_id}/task/{saves.job_id}/children").read_text().split()
    )
    os.kill(int(task), signal.SIGUSR2)  # as SLURM does before it takes the machine
    for handle in (ends, dies, saves):
        until(handle.ended)
    assert (ends.code(), dies.code(), saves.code()) == (3, None, 0)
    assert Path(jobs[2].log).read_text().split("\n")[-2] == "again"
