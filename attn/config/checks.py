"""Checks of the fields of small configs."""

from math import isfinite
from typing import Any

from attn.errors import UserError


def require_share(config: Any, *names: str, to: int | None = None) -> None:
    """Raises `UserError` unless fields are from 0 to below 1, or to `to` inclusive."""
    for name in names:
        value = getattr(config, name)
        if not (0 <= value < 1 or value == to):
            most = "below 1" if to is None else str(to)
            raise UserError(
                f"{config.name}.{name} = {value}; it must be from 0 to {most}"
            )


def require_above_0(config: Any, *names: str) -> None:
    """Raises `UserError` unless fields are above 0, and finite."""
    for name in names:
        value = getattr(config, name)
        if not (value > 0 and isfinite(value)):
            raise UserError(
                f"{config.name}.{name} = {value}; it must be above 0, and finite"
            )
