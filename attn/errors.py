"""Errors caused by the user, as distinct from bugs.

`launch.py` prints a `UserError` as one line and exits with 2, and a `Failed` as one line
with 1; anything else is a bug and keeps its traceback.
"""

from collections.abc import Iterable
from typing import Any, get_args

EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 1, 2, 75
"""Exit codes other than 0; the last is EX_TEMPFAIL: stopped by a signal, resumable."""


class UserError(ValueError):
    """A request that cannot be met; the message names field, value and remedy."""


class Failed(RuntimeError):
    """Work that was asked for rightly and cannot be done, as without a network."""


def unknown(kind: str, name: str, names: Iterable[str]) -> UserError:
    """Makes the error for a name that is not in `names`, with the nearest that is."""
    from difflib import get_close_matches

    names = sorted(names)
    near = get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}; {hint}")


def require_above_zero(owner: object, *fields: str) -> None:
    """Raises `UserError` unless every named field of a config is above 0."""
    for field in fields:
        value = getattr(owner, field)
        if value is not None and not value > 0:
            raise UserError(
                f"{type(owner).__name__}.{field} = {value}; it must be above 0"
            )


def require_positive(owner: object, *fields: str) -> None:
    """Raises `UserError` unless every named field of a config is at least 1."""
    for field in fields:
        value = getattr(owner, field)
        if value is not None and not value >= 1:  # NaN too
            raise UserError(
                f"{type(owner).__name__}.{field} = {value}; it must be at least 1"
            )


def require_choice(owner: object, **choices: Any) -> None:
    """Raises `UserError` unless every field is its default or one of a `Literal`."""
    for field, literal in choices.items():
        value = getattr(owner, field)
        if value is getattr(type(owner), field) or value in get_args(literal):
            continue
        raise unknown(f"{type(owner).__name__}.{field}", value, get_args(literal))
