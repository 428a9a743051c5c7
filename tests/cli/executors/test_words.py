"""Executors on the command line: what is refused, and a sweep whose runs are jobs."""

import json
import shlex

import pytest

import launch
from attn.cli.executors import submit, words
from attn.plots import heat, plots
from attn.records.lock import lock

TINY = (
    "--model.d-model 16 --model.num-heads 2 --train.steps 4 --train.warmup-steps 2 "
    "--train.eval-every 2 --train.batch-size 8 --task.num-train 64 --task.num-valid 16 "
    "--task.num-test 16 --task.vocab-size 32 --task.seq-len 32 --seeds 1"
)
WRONG = {
    "run recall_linear --executor slrm": "slrm",
    "run recall_linear --executor": "--executor",
    "run recall_linear --slurm.partition gpu": "--slurm.partition is for --executor slurm",
    "run recall_linear --executor ray --slurm.time 5": "is for --executor slurm; add that",
    "compare --executor slurm --ray.cpus 2": "--ray.cpus is for --executor ray",
    "run recall_linear --executor slurm --slurm.time 0": "Slurm.time = 0; it must be",
    "run recall_linear --executor ray --ray.gpus=-1": "Ray.gpus = -1.0; it must be above",
    "run recall_linear --executor ray --ray.gpus 1.5": "Ray.gpus = 1.5; Ray shares one GPU, "
    "and above 1 gives whole ones: ask for 1 or 2",
    "run recall_linear --executor slurm --slurm.partitoin gpu": "did you mean --slurm.part",
    "run heads --study x": "--study x is for one run, and 'heads' has several",
    "sweep recall_linear --over model.num_heads=1 --study x": "--study x is for one run",
    "run recall_linear --executor slurm --study x": "leave it out with --executor slurm",
    "tune recall_linear --executor slurm": "--executor",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder on a machine with every package and command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(words, "find_spec", lambda name: name)
    monkeypatch.setattr(words.shutil, "which", lambda name: name)
    return tmp_path


def refusal(here, capsys, line):
    assert launch.main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert not [*here.iterdir()]
    return err


@pytest.mark.parametrize("line", WRONG)
def test_what_is_typed_wrong_is_said_in_one_line(here, capsys, line):
    assert WRONG[line] in refusal(here, capsys, line)


@pytest.mark.parametrize("name, package", [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_said_with_its_remedy(
    here, capsys, monkeypatch, name, package
):
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    said = refusal(here, capsys, f"run recall_linear --executor {name}")
    assert f"needs the package {package}" in said
    assert f"run: pip install 'attn[{name}]'" in said


def test_a_machine_without_slurm_is_told_before_anything_is_made(
    here, capsys, monkeypatch
):
    monkeypatch.setattr(words.shutil, "which", lambda name: None)
    said = refusal(here, capsys, "run recall_linear --executor slurm")
    assert "SLURM's commands sbatch and srun" in said


class AtOnce:
    """An engine that runs each job in this process as it is submitted."""

    def __init__(self):
        self.names = []

    def submit(self, jobs):
        self.names += [job.name for job in jobs]
        return [Ended(job) for job in jobs]

    def close(self):
        pass


class Ended:
    """A job that has been run: the command's words, without Python and its file."""

    def __init__(self, job):
        self._code = launch.main(job.command[2:])

    def begun(self):
        return True

    def ended(self):
        return True

    def code(self):
        return self._code

    def cancel(self):
        pass


@pytest.fixture
def engine(here, monkeypatch):
    """An engine in the place of SLURM, beside a tiny experiment in a file."""
    made = AtOnce()
    monkeypatch.setitem(submit.ENGINES, "slurm", lambda *_: made)
    monkeypatch.setattr(plots, "PICTURES", {})
    monkeypatch.setattr(heat, "MOST", 1)
    monkeypatch.setenv("ATTN_DATA_DIR", str(here / "data"))
    assert launch.main(shlex.split(f"show recall_softmax {TINY} --save e.json")) == 0
    return made


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_sweep_of_jobs_ends_with_its_table_and_is_not_redone(here, engine, capsys):
    sweep = "sweep e.json --over train.peak_lr=0.003 --workdir swept"
    as_jobs = shlex.split(f"{sweep} --executor slurm")
    name = "recall_softmax-peak_lr=0.003"
    run = here / "swept" / name
    assert launch.main(as_jobs) == 0
    assert "jobs: 0 waiting, 0 running, 1 done, 0 failed" in capsys.readouterr().out
    done = result(run)
    assert (done["status"], done["study"]) == ("done", "sweep-e-peak_lr")
    table = (here / "swept/table.csv").read_text()
    assert not (run / "table.csv").exists()

    # Neither as jobs nor in this process is anything done twice.
    for line in (as_jobs, shlex.split(sweep)):
        assert launch.main(line) == 0
        assert f"{name}: finished before" in capsys.readouterr().out
    assert engine.names == [name]
    assert result(run) == done
    assert (here / "swept/table.csv").read_text() == table


def test_one_launcher_at_a_time(here, engine, capsys):
    (here / "one/.jobs").mkdir(parents=True)
    line = shlex.split("run e.json --workdir one --executor slurm")
    with lock(here / "one/.jobs"):
        assert launch.main(line) == 2
    assert "another process" in capsys.readouterr().err
    assert engine.names == []
