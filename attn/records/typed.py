"""Conversion of frozen dataclasses to strict JSON and back, naming bad fields.

A field stands in JSON under its own name, or under `metadata["json"]`. JSON has no NaN: a
number that is not finite is null, and null where a number must be is NaN.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from attn.errors import UserError

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Converts a record to JSON values; arrays become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(f): encode(getattr(value, f.name)) for f in _fields(type(value))}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if (tolist := getattr(value, "tolist", None)) is not None:
        return encode(tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def decode(kind: type[T], value: Any, *, where: Any) -> T:
    """Decodes JSON values as a record of type `kind`; ignores unknown fields.

    Args:
      kind: a dataclass of numbers, text, optional values, tuples, mappings, dataclasses.
      value: what `json.loads` gave.
      where: the file, for the error.

    Raises:
      UserError: a field has another type or is missing; it names field and file.
    """
    try:
        return _decoded(kind, value, "")
    except _Wrong as error:
        raise UserError(f"{where} {error}; run the experiment again") from None


class _Wrong(Exception):
    """Raised for an invalid field, with its description."""


def _decoded(kind: Any, value: Any, name: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        (some,) = (one for one in inner if one is not types.NoneType)
        return None if value is None else _decoded(some, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_decoded(inner[0], v, _join(name, i)) for i, v in enumerate(value))
    if isinstance(value, Mapping):
        if dataclasses.is_dataclass(kind):
            return _made(kind, value, name)
        if origin is Mapping:
            items = value.items()
            return {key: _decoded(inner[1], v, _join(name, key)) for key, v in items}
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int | float) and type(value) is not bool:
        return float(value)
    if type(value) is kind or (origin is Literal and value in inner):
        return value
    what = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise _Wrong(f"holds {name or 'its value'} = {json.dumps(value)[:60]}, not {what}")


def _made(kind: Any, values: Mapping[str, Any], name: str) -> Any:
    hints, known = typing.get_type_hints(kind), {}
    for field in _fields(kind):
        key = _key(field)
        if key in values:
            known[field.name] = _decoded(
                hints[field.name], values[key], _join(name, key)
            )
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise _Wrong(f"has no {_join(name, key)}")
    return kind(**known)


def _fields(kind: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind)


def _key(field: dataclasses.Field) -> str:
    return field.metadata.get("json", field.name)


def _join(name: str, key: str | int) -> str:
    return f"{name}.{key}" if name else str(key)
