"""Sweeps: one experiment over a grid of field values, matched in cost."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

from attn.config import Experiment
from attn.config.match import Match, match
from attn.config.model_checks import require_read
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.errors import UserError, unknown
from attn.kernels import KERNELS
from attn.tasks import TASKS

Grid = Mapping[str, Sequence[Any]]
"""Values by field path, as in `{"model.num_heads": (1, 2, 4)}`."""
BY_NAME: Mapping[str, Mapping[str, type]] = {
    "kernel": KERNELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "task": TASKS,
}
"""Fields whose values have names."""
BOOLS = {"true": True, "false": False}


def sweep(
    base: Experiment, over: Grid, *, by: Match = "none", prefix: str | None = None
) -> tuple[Experiment, ...]:
    """Varies `base` over the grid, the first field slowest.

    With `by`, each is resized to cost what `base` does (`attn.config.match`). Names are
    the prefix, `base.name` unless given, and the last word of each field with its
    value: `pydoc-num_heads=4`.

    Raises:
        UserError: no such field, or a value that it cannot take.
    """
    experiments = []
    for values in product(*over.values()):
        point = dict(zip(over, values))
        experiment = base
        for path, value in point.items():
            experiment = set_field(experiment, path, value)
        for path in point:
            if path.startswith("model."):
                require_read(experiment.model, path.split(".")[1])
        words = [f"{path.rpartition('.')[2]}={_word(v)}" for path, v in point.items()]
        name = "-".join([prefix or base.name, *words])
        matched = match(replace(experiment, name=name), base, by)
        for path, value in point.items():
            if _field(matched, path) != _field(experiment, path):
                raise UserError(
                    f"{path} = {_word(value)} cannot be swept at equal {by}, which sets "
                    "it itself; sweep another field, or leave out --match"
                )
        experiments.append(matched)
    return tuple(experiments)


def _field(config: Any, path: str) -> Any:
    """The value at a dotted path."""
    return reduce(getattr, path.split("."), config)


def set_field(config: Any, path: str, value: Any) -> Any:
    """A copy of a config with the field at a dotted path set.

    What is one of several by name may be given so, with its defaults; a task on a user's
    own data with these after a colon, as in `text:FILE`.
    """
    name, _, rest = path.partition(".")
    names = [f.name for f in dataclasses.fields(config) if f.init]
    if name not in names:
        raise unknown(f"field of {type(config).__name__}", name, names)
    if rest:
        inner = getattr(config, name)
        if not dataclasses.is_dataclass(inner):
            raise UserError(f"{name} has no fields, so {path!r} names nothing")
        value = set_field(inner, rest, value)
    elif name in BY_NAME and isinstance(value, str):
        value = _named(name, value)
    return replace(config, **{name: value})


def _named(field: str, text: str) -> Any:
    """The config that a name, and data after a colon, stand for."""
    name, colon, data = text.partition(":")
    if name not in BY_NAME[field]:
        raise unknown(field, name, BY_NAME[field])
    kind = BY_NAME[field][name]
    if not colon:
        return kind()
    if "data" not in (f.name for f in dataclasses.fields(kind)):
        raise UserError(
            f"{field} {text!r}: {name} takes no data; leave out the colon, or choose one "
            "of text, csv and tfds"
        )
    return kind(data=data)


def parse_axis(base: Experiment, text: str) -> tuple[str, tuple[Any, ...]]:
    """Reads `model.num_heads=1,2,4` as a path and values of the field's type."""
    path, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(
            f"--over {text!r}: write a field and its values, as in model.num_heads=1,2,4"
        )
    hint = _type_of(base, path)
    return path, tuple(_parse(path, hint, word) for word in values.split(","))


def _type_of(config: Any, path: str) -> Any:
    """The type annotation of the field at a dotted path."""
    name, _, rest = path.partition(".")
    if not dataclasses.is_dataclass(config):
        raise UserError(f"{config!r} has no fields, so {path!r} names nothing")
    hints = typing.get_type_hints(type(config))
    names = [f.name for f in dataclasses.fields(config)]
    if name not in names:
        raise _unknown_field(config, name, names)
    return _type_of(getattr(config, name), rest) if rest else hints[name]


def _unknown_field(config: Any, name: str, names: Sequence[str]) -> UserError:
    """The error for a field that is not there, but may be one level below."""
    for inner in ("model", "train", "task"):
        below = getattr(config, inner, None)
        if below is not None and name in (f.name for f in dataclasses.fields(below)):
            return UserError(f"unknown field {name!r}; did you mean {inner}.{name}?")
    return unknown(f"field of {type(config).__name__}", name, names)


def _parse(path: str, hint: Any, word: str) -> Any:
    """Parses one value; only fields whose values fit in a word can be swept."""
    choices = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = list(typing.get_args(hint))
    for choice in choices:
        if choice is type(None) and word == "none":
            return None
        if typing.get_origin(choice) is typing.Literal and word in typing.get_args(
            choice
        ):
            return word
        if choice is bool and word in BOOLS:
            return BOOLS[word]
        if choice in (int, float):
            try:
                return choice(word)
            except ValueError:
                continue
        if choice is str or path.rpartition(".")[2] in BY_NAME:
            return word
    raise UserError(f"--over {path}: {word!r} is not {getattr(hint, '__name__', hint)}")


def _word(value: Any) -> str:
    return getattr(value, "name", None) or str(value)
