"""Lower bounds on what a run needs, checked against what the machine has.

A run that exceeds them could not have succeeded; one that does not may still fail.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from attn.config import Experiment, cost
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.tasks import SPLITS, Task

CORE_FLOPS, CHIP_FLOPS = 10**13, 10**17
"""Upper bounds on the FLOP/s of a CPU core, and of an accelerator."""
CHIP_BYTES = 2**40
"""An upper bound on the memory of an accelerator."""
STEP_SECONDS = 1e-4
"""A lower bound on the seconds of a step."""
YEAR = 365 * 24 * 3600
LARGEST = 10**300
"""The number from which values are not shown in digits."""


def check_size(experiments: Sequence[Experiment], mesh: MeshShape) -> None:
    """Raises `UserError` where a run needs more memory, cores or years than exist."""
    accelerated, cores = has_accelerator(), os.cpu_count() or 1
    if not accelerated and mesh.size > max(16, 8 * cores):
        raise UserError(
            f"mesh {mesh} divides the CPU into "
            f"{mesh.size:,} devices, and it has {cores} cores; choose at most "
            f"{max(16, 8 * cores)}"
        )
    memory = CHIP_BYTES * mesh.size if accelerated else _host_bytes()
    rate = CHIP_FLOPS * mesh.size if accelerated else CORE_FLOPS * cores
    for experiment in experiments:
        _check_memory(experiment, memory)
        _check_time(experiment, rate)


def check_data(task: Task) -> None:
    """Raises `UserError` where the rows of a task need more memory than there is."""
    need, memory = data_bytes(task), _host_bytes()
    if need > memory:
        raise UserError(
            f"{task.name!r} has at least {_short(_num_rows(task))} rows of task.seq_len = "
            f"{_short(task.seq_len)}, which need at least {_size(need)}, and there are "
            f"{_size(memory)}; lower task.seq_len"
            + (" or task.num_train" if hasattr(task, "num_train") else "")
        )


def _host_bytes() -> int:
    """The bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_disk(experiments: Sequence[Experiment], root: Path) -> None:
    """Raises `UserError` where not even one checkpoint of each run has space."""
    here = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(here).free
    need = sum(3 * _param_bytes(experiment) for experiment in experiments)
    if need > free:
        raise UserError(
            f"{here} has {_size(free)} free, and the checkpoints of {len(experiments)} "
            f"run{'s' * (len(experiments) > 1)} need {_size(need)}; make room, or choose "
            "another --workdir"
        )


def _param_bytes(experiment: Experiment) -> int:
    """The bytes of the parameters of all seeds."""
    return 4 * experiment.seeds * cost.count_params(experiment)


def has_accelerator() -> bool:
    """Whether jax could find an accelerator, found out without starting it."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return False
    names = ("nvidiactl", "accel0", "accel/accel0", "kfd", "vfio/0")
    return any(Path("/dev", name).exists() for name in names)


def data_bytes(task: Task) -> int:
    """A lower bound on the bytes of the rows of all splits."""
    return 2 * _num_rows(task) * task.seq_len


def _num_rows(task: Task) -> int:
    """The rows of all splits; one of each where the config does not say more."""
    return sum(getattr(task, f"num_{split}", 1) for split in SPLITS)


def needed_bytes(experiment: Experiment) -> dict[str, int]:
    """Lower bounds on the bytes that a run holds at once, of all seeds, by purpose."""
    model, task = experiment.model, experiment.task
    rows = experiment.seeds * experiment.train.batch_size // experiment.train.accumulate
    params = _param_bytes(experiment)
    stream = 2 if model.dtype == "bfloat16" else 4
    layers = len(model.one_block) * model.repeats
    return {
        "data": data_bytes(task),
        "parameters and gradients": 2 * params,
        "optimizer state": 2 * params,
        "activations": rows * task.seq_len * model.d_model * layers * stream
        + rows * task.num_scored * task.num_classes * 4,
    }


def _check_memory(experiment: Experiment, memory: int) -> None:
    need = needed_bytes(experiment)
    if sum(need.values()) > memory:
        parts = ", ".join(f"{_size(n)} {what}" for what, n in need.items())
        raise UserError(
            f"{experiment.name!r} needs at least {_size(sum(need.values()))} ({parts}) "
            f"and there are {_size(memory)}; lower what is largest: "
            "model.d_model, train.batch_size, seeds, or the sizes of the task; "
            "train.accumulate holds fewer activations at once"
        )


def _check_time(experiment: Experiment, rate: int) -> None:
    flops = min(experiment.seeds * int(cost.train_flops(experiment)), LARGEST)
    steps = min(experiment.train.steps, LARGEST)
    years = steps / YEAR * max(flops / rate, STEP_SECONDS)
    if years > 1:
        raise UserError(
            f"{experiment.name!r} needs at least {years:,.0f} years: train.steps = "
            f"{steps:.3g} of {flops:.3g} FLOPs, at {rate:.1g} FLOP/s; lower "
            "train.steps"
        )


def _short(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"{min(count, LARGEST):.3g}"


def _size(count: int) -> str:
    if count < 2**30:
        return f"{count / 2**20:,.1f} MiB"
    return f"{min(count, LARGEST) / 2**30:,.1f} GiB"
