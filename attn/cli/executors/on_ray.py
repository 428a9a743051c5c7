"""Tasks of Ray, on this machine or on a cluster whose nodes see the same files."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from attn.cli.executors.job import Job
from attn.cli.executors.options import Ray
from attn.errors import UserError

ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Settings of a Ray that is started here: jobs are what the machine is for, and one
without GPUs sees none."""


class RayTasks:
    """Ray, started here or joined where it runs; each job is a task."""

    def __init__(self, options: Ray):
        """Joins the cluster at `options.address`, or starts one on this machine.

        Raises:
            UserError: there is no such cluster, or none of its nodes could run a job.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray  # pyright: ignore[reportMissingImports]

        self._options = options
        try:
            ray.init(
                address=options.address or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                include_dashboard=None if options.address else False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            where = f"--ray.address {options.address}"
            raise UserError(
                f"{where if options.address else '--executor ray'}: {reason}; name a "
                "running cluster by --ray.address"
            ) from error
        try:
            require_room(ray.nodes(), options)
        except UserError:
            self.close()
            raise

    def submit(self, jobs: Sequence[Job]) -> "list[Task]":
        """Submits jobs; each runs where its cores and GPUs are free."""
        import ray  # pyright: ignore[reportMissingImports]

        # Ray would repeat a task without its having been counted.
        task = ray.remote(
            num_cpus=self._options.cpus, num_gpus=self._options.gpus, max_retries=0
        )(run)
        return [Task(job, task.options(name=job.name).remote(job)) for job in jobs]

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        import ray  # pyright: ignore[reportMissingImports]

        ray.shutdown()


def require_room(nodes: Sequence[Mapping[str, Any]], options: Ray) -> None:
    """Raises `UserError` unless one node that is alive has all that a job asks for.

    Ray would wait for such a node without an end.
    """
    asked = {"CPU": options.cpus, "GPU": options.gpus}
    there = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(own.get(n, 0) >= asked[n] for n in asked) for own in there):
        return
    have = [
        " and ".join(f"{own.get(name, 0):g} {name}s" for name in asked) for own in there
    ]
    raise UserError(
        f"--ray.cpus {options.cpus} --ray.gpus {options.gpus:g}: no node of this Ray has "
        f"both ({', '.join(dict.fromkeys(have)) or 'none is alive'}); ask for fewer"
    )


def run(job: Job) -> int:
    """Runs a job on a worker of Ray; returns its exit code."""
    return job.run()


class Task:
    """A job that Ray has been given."""

    def __init__(self, job: Job, reference: Any):
        self._job, self._reference = job, reference
        self._log_bytes = job.log_bytes()

    def begun(self) -> bool:
        """Whether it has found a worker."""
        return self._job.log_bytes() > self._log_bytes

    def ended(self) -> bool:
        """Whether it has ended."""
        import ray  # pyright: ignore[reportMissingImports]

        ready, _ = ray.wait([self._reference], timeout=0)
        return bool(ready)

    def code(self) -> int | None:
        """The exit code of its command; None where its worker or node was lost."""
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

        try:
            return ray.get(self._reference)
        except RayError:
            return None

    def cancel(self) -> None:
        """Cancels it; what runs saves first."""
        import ray  # pyright: ignore[reportMissingImports]

        ray.cancel(self._reference)
