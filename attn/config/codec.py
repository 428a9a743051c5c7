"""Configs to JSON values and back, and the fingerprint that names an experiment."""

import dataclasses
import hashlib
import json
from typing import Any

from attn.config.experiment import Experiment
from attn.kernels import Kernel
from attn.tasks import Task


def to_json(config: Any) -> Any:
    """A config as JSON values; a kernel or a task also says which one it is."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        named = {"is": config.name} if isinstance(config, Kernel | Task) else {}
        values = {
            f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)
        }
        return named | values
    if isinstance(config, tuple | list):
        return [to_json(item) for item in config]
    return config


def fingerprint(experiment: Experiment) -> str:
    """Twelve hexadecimal digits, equal for equal experiments whatever their claims."""
    values = to_json(experiment)
    del values["claim"]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
