"""Conversion of configs to JSON values and back, and fingerprints of experiments."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from attn.config.experiment import Experiment
from attn.config.layers import Layer
from attn.config.model import LAYERS
from attn.errors import UserError, unknown
from attn.kernels import KERNELS, Kernel
from attn.tasks import TASKS, Task

NAMED: Mapping[type, Mapping[str, type]] = {
    Kernel: KERNELS,
    Task: TASKS,
    Layer: LAYERS,
}
"""Bases whose subclasses are told apart by a name, under `is`."""


def to_json(config: Any) -> Any:
    """Converts a config to JSON values; kernels, tasks and layers have their name."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        name = getattr(config, "name") if isinstance(config, tuple(NAMED)) else None  # noqa: B009
        named = {} if name is None else {"is": name}
        values = {
            f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)
        }
        return named | values
    if isinstance(config, tuple | list):
        return [to_json(item) for item in config]
    return config


def from_json(values: Any, of: Any = Experiment, path: str = "experiment") -> Any:
    """Rebuilds the config that `to_json` converted.

    A field that is not there has its default, so that a newer field does not orphan an
    older run.

    Args:
        values: JSON values.
        of: the type to make, as an annotation.
        path: what to call the values where they are wrong.

    Raises:
        UserError: a field is unknown, missing, or of another type.
    """
    origin = typing.get_origin(of)
    if origin in (typing.Union, types.UnionType):
        return _one_of(values, typing.get_args(of), path)
    if origin is tuple and isinstance(values, list):
        inner = typing.get_args(of)[0]
        return tuple(from_json(v, inner, f"{path}.{i}") for i, v in enumerate(values))
    if origin is typing.Literal and values in typing.get_args(of):
        return values
    if isinstance(of, type) and isinstance(values, Mapping):
        return _made(dict(values), of, path)
    if of is float and type(values) is int:
        return float(values)
    if isinstance(of, type) and type(values) is of:
        return values
    raise _wrong(values, of, path)


def _one_of(values: Any, choices: tuple[Any, ...], path: str) -> Any:
    """Decodes a value as the first of the types that accepts it."""
    if values is None and type(None) in choices:
        return None
    for choice in choices:
        if choice is not type(None):
            return from_json(values, choice, path)
    raise _wrong(values, choices, path)


def _made(values: dict[str, Any], of: type, path: str) -> Any:
    """Builds a dataclass from fields; of a named base, the subclass of that name."""
    if of in NAMED:
        name = values.pop("is", None)
        if name not in NAMED[of]:
            raise unknown(f"{path}.is", str(name), NAMED[of])
        of = NAMED[of][name]
    if not dataclasses.is_dataclass(of):
        raise _wrong(values, of, path)
    hints = typing.get_type_hints(of)
    fields = {f.name: f for f in dataclasses.fields(of)}
    for name in values:
        if name not in fields:
            raise unknown(f"field {path}.{name} of {of.__name__}", name, fields)
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise UserError(f"{path} has no {name}; the file is not whole")
    known = {n: from_json(v, hints[n], f"{path}.{n}") for n, v in values.items()}
    return of(**known)


def _wrong(values: Any, of: Any, path: str) -> UserError:
    what = getattr(of, "__name__", str(of))
    return UserError(f"{path} = {json.dumps(values)}; it must be of type {what}")


def fingerprint(experiment: Experiment) -> str:
    """A hash of an experiment in twelve hex digits, equal for equal experiments.

    Neither the words of a claim nor how often a run is saved make another experiment.
    """
    values = to_json(experiment)
    del values["claim"], values["train"]["save_every"]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
