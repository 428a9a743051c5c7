"""Jobs of SLURM, submitted by submitit.

submitit starts the job's process beside a small one of its own, which SLURM signals when
time is up or the machine is wanted. The run then saves, and SLURM queues the job again,
also when nobody waits for it any more.
"""

import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from attn.cli.executors.job import Job, Process
from attn.cli.executors.options import Slurm
from attn.errors import UserError

QUEUE_S = 5.0
"""Seconds between questions to SLURM, one for all jobs."""
ENDED = set(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY TIMEOUT".split()
)
"""States of jobs that do not run again by themselves."""
MOST_TIMEOUTS = 100
"""How often one job may be queued again because its time was up."""


class Resumable:
    """A job as submitit calls it; asked for a checkpoint, it saves and is queued again."""

    def __init__(self, job: Job):
        self.job = job
        self._process: Process | None = None

    def __call__(self) -> int:
        self._process = Process(self.job)
        with self._process.ended_with_this() as process:
            return process.wait()

    def checkpoint(self):
        """Ends the process so that it saves; returns the job to queue."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

        if self._process is not None:
            self._process.end()
        return DelayedSubmission(Resumable(self.job))


@dataclass
class Submitit:
    """SLURM by submitit; as `local`, processes of this machine in its place."""

    folder: Path
    """The folder of submitit's files, which every node must see."""
    name: str
    options: Slurm = Slurm()
    cluster: Literal["slurm", "local"] = "slurm"
    _asked_at: float = field(default=-math.inf, init=False)
    _states: dict[str, str] | None = field(default=None, init=False)

    def submit(self, jobs: Sequence[Job]) -> "list[Submitted]":
        """Submits jobs, several as one array, but for those that are in the queue.

        Raises:
            UserError: SLURM refuses them.
        """
        there = {job.name: self._in_queue(job) for job in jobs}
        new = [job for job in jobs if there[job.name] is None]
        made = self._submit(new) if new else []
        self._asked_at = -math.inf  # the answer before knows nothing of them
        for job, submitted in zip(new, made, strict=True):
            self._id_file(job).write_text(submitted.job_id)
        return [there[job.name] or made.pop(0) for job in jobs]

    def _in_queue(self, job: Job) -> "Submitted | None":
        """The job as a launcher before this one submitted it, if it has not ended."""
        from submitit import SlurmJob  # pyright: ignore[reportMissingImports]

        file = self._id_file(job)
        if self.cluster == "local" or not file.exists():
            return None
        known = Submitted(SlurmJob(self.folder, file.read_text()), self)
        return None if known.ended() else known

    def _id_file(self, job: Job) -> Path:
        return self.folder / f"{job.name}.id"

    def _submit(self, jobs: Sequence[Job]) -> "list[Submitted]":
        import submitit  # pyright: ignore[reportMissingImports]

        executor = submitit.AutoExecutor(
            self.folder, cluster=self.cluster, slurm_max_num_timeout=MOST_TIMEOUTS
        )
        executor.update_parameters(**self._parameters())
        try:
            with executor.batch():
                made = [executor.submit(Resumable(job)) for job in jobs]
        except Exception as error:
            lines = [line for line in str(error).splitlines() if "error:" in line]
            reason = lines[0] if lines else f"{type(error).__name__}: {error}"
            raise UserError(
                f"--executor slurm: {reason}; choose other --slurm options"
            ) from error
        return [Submitted(job, self) for job in made]

    def _parameters(self) -> dict[str, Any]:
        """The options that were given, as submitit calls them."""
        asked = self.options
        names = {
            "name": self.name,
            "timeout_min": asked.time,
            "cpus_per_task": asked.cpus,
            "gpus_per_node": asked.gpus,
            "mem_gb": asked.memory,
            "slurm_partition": asked.partition,
            "slurm_account": asked.account,
            "slurm_qos": asked.qos,
            "slurm_constraint": asked.constraint,
            "slurm_array_parallelism": asked.at_once,
        }
        return {name: value for name, value in names.items() if value is not None}

    def state(self, job_id: str) -> str:
        """The state of a job in SLURM's queue; a job that has left it is completed."""
        if time.monotonic() - self._asked_at >= QUEUE_S:
            self._states, self._asked_at = queue(), time.monotonic()
        if self._states is None:  # no answer, as from a controller that restarts
            return "UNKNOWN"
        return self._states.get(job_id, "COMPLETED")

    def close(self) -> None:
        """Leaves nothing to close."""


def queue() -> dict[str, str] | None:
    """The state of each job of this user, by id; None where SLURM does not answer.

    `squeue` is asked, since `sacct` needs accounting, which not every cluster has.
    """
    command = "squeue --me --noheader --array --states=all --format=%i|%T".split()
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.split("|") for line in said.stdout.splitlines())
    return dict(pair for pair in pairs if len(pair) == 2)


class Submitted:
    """A job that submitit has submitted."""

    def __init__(self, job: Any, engine: Submitit):
        self._job, self._engine = job, engine

    @property
    def job_id(self) -> str:
        """The number of the job in the queue."""
        return self._job.job_id

    def begun(self) -> bool:
        """Whether it is on a machine."""
        if self._engine.cluster == "local":
            return self._job.state == "RUNNING"
        return self._engine.state(self.job_id) == "RUNNING"

    def ended(self) -> bool:
        """Whether it has ended, and is not queued again."""
        if self._engine.cluster == "local":
            return self._job.state != "RUNNING"
        if self._job.paths.result_pickle.exists():
            return True
        return self._engine.state(self.job_id) in ENDED

    def code(self) -> int | None:
        """The exit code of its command; None where the job itself was killed."""
        from submitit.core.utils import pickle_load  # pyright: ignore[reportMissingImports]

        try:
            outcome, value = pickle_load(self._job.paths.result_pickle)
        except (OSError, EOFError):
            return None
        return value if outcome == "success" else None

    def cancel(self) -> None:
        """Cancels it; what runs saves first."""
        self._job.cancel(check=False)
