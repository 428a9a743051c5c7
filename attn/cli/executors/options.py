"""Options of executors, as dataclasses; a job's own process loads no more than this."""

from dataclasses import dataclass
from typing import Literal

from attn.errors import UserError, require_above_zero, require_positive

Name = Literal["local", "slurm", "ray"]


@dataclass(frozen=True)
class Slurm:
    """The request of each job to SLURM; anything not given is as the cluster has it."""

    partition: str | None = None
    """Partition of the cluster."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that a node must have."""
    time: int = 240
    """Minutes of a job; a run that needs more saves, and is queued again."""
    cpus: int | None = None
    """Cores of a job."""
    gpus: int | None = None
    """GPUs of a job."""
    memory: int | None = None
    """GiB of memory of a job."""
    at_once: int | None = None
    """The most jobs that run at once."""

    def __post_init__(self):
        require_positive(self, "time", "cpus", "gpus", "memory", "at_once")


@dataclass(frozen=True)
class Ray:
    """The request of each job to Ray, and the address of Ray."""

    address: str | None = None
    """Address of a running cluster, or auto; without one, Ray is started on this machine."""
    cpus: int = 1
    """Cores of a job."""
    gpus: float = 0.0
    """GPUs of a job."""

    def __post_init__(self):
        require_positive(self, "cpus")
        if self.gpus:
            require_above_zero(self, "gpus")
        if self.gpus > 1 and self.gpus % 1:
            raise UserError(
                f"Ray.gpus = {self.gpus}; Ray shares one GPU, and above 1 gives whole ones: "
                f"ask for {self.gpus // 1:g} or {self.gpus // 1 + 1:g}"
            )


@dataclass(frozen=True)
class Executing:
    """The place where runs are trained: in this process, in turn, or each as a job elsewhere."""

    executor: Name = "local"
    """Trainer of the runs: local is this process; slurm and ray run each as a job."""
    slurm: Slurm = Slurm()
    ray: Ray = Ray()
    study: str | None = None
    """Study that a single run belongs to, whose report is then left to the study; jobs are
    started with it."""
