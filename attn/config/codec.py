"""Conversion of configs to JSON values and back, and fingerprints of experiments."""

import hashlib
import json
from typing import Any

from attn.config.experiment import Experiment
from attn.config.layers import Layer
from attn.config.model import LAYERS
from attn.config.optimizers import OPTIMIZERS, Optimizer
from attn.config.schedules import SCHEDULES, Schedule
from attn.config.typed import Named, Wrong, decode, encode
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel
from attn.tasks import TASKS, Task

NAMED: Named = {
    Kernel: KERNELS,
    Task: TASKS,
    Layer: LAYERS,
    Optimizer: OPTIMIZERS,
    Schedule: SCHEDULES,
}
"""Base classes whose subclasses experiments hold by name."""


def to_json(config: Any) -> Any:
    """Converts a config to JSON values; what is one of several has its name."""
    return encode(config, tuple(NAMED))


def from_json(values: Any) -> Experiment:
    """Rebuilds the experiment that `to_json` converted.

    Raises:
        UserError: a field is unknown, missing, or of another type.
    """
    try:
        return decode(Experiment, values, named=NAMED, strict=True)
    except Wrong as error:
        raise UserError(f"the experiment {error}") from None


def fingerprint(experiment: Experiment) -> str:
    """A hash of an experiment in twelve hex digits, equal for equal experiments.

    Neither the words of a claim nor how often a run is saved make another experiment.
    """
    values = to_json(experiment)
    del values["claim"], values["train"]["save_every"]
    if not experiment.first_seed:  # runs of before it was a field have the same hash
        del values["first_seed"]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
