"""What SLURM is asked for, and jobs that are found in its queue again."""

import os
from pathlib import Path

import pytest

from attn.cli.executors.job import Job
from attn.cli.executors.on_slurm import ENDED, Submitit, queue
from attn.cli.executors.options import Slurm
from attn.errors import UserError

SBATCH = """#!/bin/sh
if [ -f refused ]; then echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1; fi
cp "$1" script; echo x >> submitted
echo "Submitted batch job 7"
"""
COMMANDS = {"sbatch": SBATCH, "srun": "#!/bin/sh\n", "squeue": "#!/bin/sh\ncat queue\n"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with commands of SLURM that write down what they are asked."""
    pytest.importorskip("submitit", reason="needs the extra slurm")
    for name, text in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue").write_text("7_0|PENDING\n7_1|RUNNING\n")
    return tmp_path


def jobs(*names):
    return [Job(name, ("true",), ".", (), f"{name}.log") for name in names]


def engine(**options):
    return Submitit(Path("files"), "study", Slurm(**options))


def test_options_that_are_given_are_passed_on_and_no_others(here):
    engine(partition="gpu", time=90, gpus=2, at_once=1).submit(jobs("a", "b"))
    lines = (here / "script").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if "#SBATCH" in line}
    assert {"partition=gpu", "time=90", "gpus-per-node=2", "array=0-1%1"} <= asked
    assert "job-name=study" in asked
    assert not [x for x in asked if x.startswith(("mem", "cpus", "account", "qos"))]


def test_jobs_in_the_queue_are_found_by_the_next_launcher(here):
    engine().submit(jobs("a", "b"))
    again = engine()
    a, b = again.submit(jobs("a", "b"))
    assert (here / "submitted").read_text() == "x\n"
    assert (a.job_id, b.job_id) == ("7_0", "7_1")
    assert (a.begun(), b.begun(), a.ended()) == (False, True, False)
    (here / "queue").write_text("7_0|PENDING\n")
    a, b = engine().submit(jobs("a", "b"))
    assert (here / "submitted").read_text() == "x\nx\n"
    assert (a.job_id, b.job_id) == ("7_0", "7")


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_job_that_ended_without_a_result_was_killed(here, state):
    (job,) = engine().submit(jobs("a"))
    (here / "queue").write_text(f"7|{state}\n")
    assert job.ended()
    assert job.code() is None


def test_a_queue_that_does_not_answer_ends_no_job(here):
    (here / "queue").unlink()
    assert queue() is None
    (job,) = engine().submit(jobs("a"))
    assert not job.ended()


def test_what_slurm_refuses_is_one_line_in_its_words(here):
    (here / "refused").touch()
    with pytest.raises(UserError, match="invalid partition specified: gpu; choose"):
        engine(partition="gpu").submit(jobs("a"))
