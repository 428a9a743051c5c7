"""Conversion of frozen dataclasses to strict JSON and back, naming wrong fields.

A field has in JSON its own name, or under `metadata["json"]`. JSON has no NaN: a
number that is not finite is null, and a null number is read as NaN. A dataclass
whose base is one of several by name (`Named`) carries that name under `is`.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from attn.errors import unknown

T = TypeVar("T")
Named = Mapping[type, Mapping[str, type]]
"""Bases of dataclasses, and their subclasses by name."""


class Wrong(ValueError):
    """A field that is wrong, in words that continue a sentence about its file."""


def encode(value: Any, named: tuple[type, ...] = ()) -> Any:
    """Converts a dataclass to JSON values; arrays become lists.

    Args:
      named: bases whose subclasses also say which one they are.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        of, kind = type(value), {}
        if issubclass(of, named):
            kind = {"is": of.name}  # pyright: ignore[reportAttributeAccessIssue]
        items = {_key(f): encode(getattr(value, f.name), named) for f in _fields(of)}
        return kind | items
    if isinstance(value, Mapping):
        return {str(key): encode(item, named) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item, named) for item in value]
    if (tolist := getattr(value, "tolist", None)) is not None:
        return encode(tolist(), named)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def decode(
    kind: type[T],
    value: Any,
    *,
    named: Named | None = None,
    strict: bool = False,
    name: str = "",
) -> T:
    """The dataclass of type `kind` that JSON values stand for.

    A field that is not there has its default, so that a newer field does not orphan an
    older file.

    Args:
      kind: a dataclass of numbers, strings, optional values, tuples, mappings,
          dataclasses.
      value: what `json.loads` gave.
      named: bases whose subclasses are told apart by name.
      strict: whether an unknown field is wrong; it is left out otherwise.
      name: what to call the value.

    Raises:
      Wrong: a field has another type, is missing or unknown.
    """
    return _Decoder(named or {}, strict).decoded(kind, value, name)


@dataclasses.dataclass(frozen=True)
class _Decoder:
    named: Named
    strict: bool

    def decoded(self, kind: Any, value: Any, name: str) -> Any:
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return value
        if origin in (Union, types.UnionType):
            (some,) = (one for one in inner if one is not types.NoneType)
            return None if value is None else self.decoded(some, value, name)
        if origin is tuple and isinstance(value, list):
            each = enumerate(value)
            return tuple(self.decoded(inner[0], v, _join(name, i)) for i, v in each)
        if isinstance(value, Mapping) and origin is Mapping:
            items = value.items()
            return {k: self.decoded(inner[1], v, _join(name, k)) for k, v in items}
        if isinstance(value, Mapping) and dataclasses.is_dataclass(kind):
            return self.made(kind, dict(value), name)
        return _plain(kind, value, name)

    def made(self, kind: Any, values: dict[str, Any], name: str) -> Any:
        if kind in self.named:
            called = values.pop("is", None)
            if not isinstance(called, str) or called not in self.named[kind]:
                error = unknown(_join(name, "is"), str(called), self.named[kind])
                raise Wrong(f"has an {error}")
            kind = self.named[kind][called]
        hints, known = typing.get_type_hints(kind), {}
        for field in _fields(kind):
            path = _join(name, _key(field))
            if _key(field) in values:
                of = hints[field.name]
                known[field.name] = self.decoded(of, values.pop(_key(field)), path)
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise Wrong(f"has no {path}")
        if values and self.strict:
            names = [_key(field) for field in _fields(kind)]
            what = f"field {_join(name, next(iter(values)))} of {kind.__name__}"
            raise Wrong(f"has an {unknown(what, next(iter(values)), names)}")
        return kind(**known)


def _plain(kind: Any, value: Any, name: str) -> Any:
    """Decodes a number, a string or a choice."""
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) in (int, float):
        return float(value)
    of_choices = typing.get_origin(kind) is Literal and value in typing.get_args(kind)
    if type(value) is kind or of_choices:
        return value
    what = str(kind) if typing.get_args(kind) else getattr(kind, "__name__", str(kind))
    raise Wrong(f"holds {name or 'its value'} = {json.dumps(value)[:60]}, not {what}")


def _fields(kind: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind)


def _key(field: dataclasses.Field) -> str:
    return field.metadata.get("json", field.name)


def _join(name: str, key: str | int) -> str:
    return f"{name}.{key}" if name else str(key)
