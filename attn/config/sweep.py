"""Sweeps: one experiment over a grid of field values, matched in cost."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from attn.config import Experiment
from attn.config.match import Match, match
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.errors import UserError, unknown
from attn.kernels import KERNELS

Grid = Mapping[str, Sequence[Any]]
"""Values by field path, as in `{"model.num_heads": (1, 2, 4)}`."""
BY_NAME = {"kernel": KERNELS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
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
                experiment.model.require_read(path.removeprefix("model."))
        words = [f"{path.rpartition('.')[2]}={_word(v)}" for path, v in point.items()]
        name = "-".join([prefix or base.name, *words])
        experiments.append(match(replace(experiment, name=name), base, by))
    return tuple(experiments)


def set_field(config: Any, path: str, value: Any) -> Any:
    """A copy of a config with the field at a dotted path set.

    A kernel, an optimizer or a schedule may be given by name, with its defaults.
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
        if value not in BY_NAME[name]:
            raise unknown(name, value, BY_NAME[name])
        value = BY_NAME[name][value]()
    return replace(config, **{name: value})


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
        raise unknown(f"field of {type(config).__name__}", name, names)
    return _type_of(getattr(config, name), rest) if rest else hints[name]


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
