"""The identity of experiments: configs as JSON, and the fields that differ."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from attn.config import Experiment, fingerprint, from_json, to_json
from attn.config.schedules import SCHEDULES
from attn.errors import UserError
from attn.records.typed import encode

NO_PART = ("claim", "fingerprint", "train.save_every")
"""Fields that may differ within one run: the words of its claim, and how often it
is saved."""

_ABSENT = object()


def identity(experiment: Experiment) -> dict[str, Any]:
    """The values of `config.json`: the experiment, and its fingerprint."""
    return encode(to_json(experiment)) | {"fingerprint": fingerprint(experiment)}


def experiment_of(config: Mapping[str, Any]) -> Experiment:
    """Decodes the experiment in a `config.json`.

    Raises:
      UserError: a field is unknown, missing, or of another type.
    """
    return from_json({k: v for k, v in config.items() if k != "fingerprint"})


def difference(
    there: Mapping[str, Any], here: Mapping[str, Any], *, extend: bool = False
) -> str | None:
    """The first field in which two experiments differ, in words; None if equal.

    A field that `there` does not have yet counts with its default.

    Args:
        extend: whether more steps are no difference, where the schedule allows them.
    """
    with contextlib.suppress(UserError):
        there = identity(experiment_of(there))
    for name, old, new in _differences(there, here, ""):
        if name in NO_PART:
            continue
        said = f"{name} is {_show(old)} there and {_show(new)} here"
        if not (extend and name == "train.steps" and _is_more(new, old)):
            return said
        schedule = here["train"]["schedule"]["is"]
        if not SCHEDULES[schedule].extends:
            able = ", ".join(n for n, kind in SCHEDULES.items() if kind.extends)
            return (
                f"{said}, and its schedule, {schedule}, ends with its steps (one that "
                f"goes on: {able})"
            )
    return None


def _differences(there: Any, here: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields the leaves that differ, as (dotted name, there, here)."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*here, *(key for key in there if key not in here)]:
            path = f"{name}.{key}" if name else key
            yield from _differences(
                there.get(key, _ABSENT), here.get(key, _ABSENT), path
            )
    elif there != here:
        yield name, there, here


def _is_more(new: Any, old: Any) -> bool:
    return isinstance(new, int) and isinstance(old, int) and new > old


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)
