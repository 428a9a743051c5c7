"""The fields of patterns: their validation and their notation."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from operator import index
from typing import Any

from attn.errors import UserError


def whole(mask: Any, least: Mapping[str, int | None]) -> None:
    """Raises `UserError` unless each field is an integer not below its minimum."""
    for name, low in least.items():
        value = getattr(mask, name)
        here = f"{type(mask).__name__}({name}={value!r})"
        try:
            object.__setattr__(mask, name, index(value))
        except TypeError:
            raise UserError(f"{here}: it must be a whole number") from None
        if low is not None and value < low:
            raise UserError(f"{here}: it must be at least {low}")


def typed(mask: Any) -> str:
    """The pattern as an expression: fields in order, defaults left out."""
    words, named = [], False
    for field in fields(mask):
        value = getattr(mask, field.name)
        if field.default is not MISSING and value == field.default:
            named = True
        else:
            words.append(f"{field.name}={value!r}" if named else repr(value))
    return f"{type(mask).__name__}({', '.join(words)})"
