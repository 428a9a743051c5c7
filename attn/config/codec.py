"""Conversion of configs to JSON values and back, and fingerprints of experiments."""

import hashlib
import json
from typing import Any

from attn.config.experiment import Experiment
from attn.config.layers import Layer
from attn.config.optimizers import OPTIMIZERS, Optimizer
from attn.config.parts import Embedding, Norm
from attn.config.schedules import SCHEDULES, Schedule
from attn.config.shorthand import LAYERS
from attn.config.typed import Named, Wrong, decode, encode
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel
from attn.positions import ROPE_SCALINGS, RopeScaling
from attn.tasks import TASKS, Task

NAMED: Named = {
    Kernel: KERNELS,
    Task: TASKS,
    Layer: LAYERS,
    Optimizer: OPTIMIZERS,
    Schedule: SCHEDULES,
    RopeScaling: ROPE_SCALINGS,
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


UNUSED = (0, None, [], encode(Norm()), encode(Embedding()))
LATER = {
    name: UNUSED
    for name in "first_seed attention_dropout attend_padding norm embedding gated gate "
    "qk_norm rope_scaling encoder_pattern encoder_block encoder_repeats "
    "window scale remat grey".split()
} | {
    "act": (None, "gelu_tanh"),
    "bias": (None, "none"),
    "source": ("self",),
}
"""Fields that are no part of the hash with these values: older runs are without them."""


def _without_unused(values: Any) -> Any:
    """JSON values without the fields of `LATER` that are unused."""
    if isinstance(values, list):
        return [_without_unused(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        name: _without_unused(value)
        for name, value in values.items()
        if value not in LATER.get(name, ())
    }


def fingerprint(experiment: Experiment) -> str:
    """A hash of an experiment in twelve hex digits, equal for equal experiments.

    Neither the words of a claim nor how often a run is saved make another experiment.
    """
    values = to_json(experiment)
    del values["claim"], values["train"]["save_every"]
    text = json.dumps(_without_unused(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
