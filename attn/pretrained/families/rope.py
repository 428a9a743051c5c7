"""Rotary frequencies in a config.json, in the older and the newer way to write them."""

from typing import Any

from attn.errors import UserError
from attn.positions import LinearScaling, Llama3Scaling, RopeScaling
from attn.pretrained.families.base import Nullable
from attn.pretrained.families.values import require

BASE = 10_000.0
"""The base of the frequencies where a config names none."""
ROPE_KEYS = {
    "rope_theta": Nullable(float),
    "rope_scaling": Nullable(dict),
    "rope_parameters": Nullable(dict),
}
"""Config keys of rotary positions; the last has the other two in it."""
LLAMA_3 = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_max_position_embeddings": "original_len",
}
"""The numbers of LLaMA 3's scaling there, by their names here."""


def rope(values: dict[str, Any]) -> tuple[float, RopeScaling | None]:
    """The base and the scaling of the rotary frequencies.

    Raises:
        UserError: the scaling is of a type, or has a number, that is not known.
    """
    newer, older = values["rope_parameters"], values["rope_scaling"]
    key = "rope_parameters" if newer else "rope_scaling"
    given = dict(newer or older or {})
    if newer and older and _scaling(newer) != _scaling(older):
        raise UserError(
            f"config.json: rope_parameters = {newer} and rope_scaling = {older} differ; "
            "leave out one"
        )
    base = given.pop("rope_theta", None) or values["rope_theta"] or BASE
    kinds = [given.pop(name, None) for name in ("rope_type", "type")]
    kind = next(filter(None, kinds), "default")
    require(f"{key}.partial_rotary_factor", given.pop("partial_rotary_factor", 1), (1,))
    require(f"{key}.rope_type", kind, ("default", "linear", "llama3"))
    numbers = {"linear": {"factor": "factor"}, "llama3": LLAMA_3}.get(kind, {})
    for name, value in given.items():
        if name not in numbers:
            require(f"{key}.{name}", value, ())
    for name in numbers:
        if name not in given:
            raise UserError(f"config.json: {key} has no {name}; {kind!r} needs it")
        if type(given[name]) not in (int, float) or not given[name] > 0:
            raise UserError(
                f"config.json: {key}.{name} = {given[name]!r} is no number above 0"
            )
    known = {numbers[name]: value for name, value in given.items()}
    makes = {"linear": LinearScaling, "llama3": Llama3Scaling}
    return float(base), makes[kind](**known) if kind in makes else None


def _scaling(given: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a scaling alone, in the newer way to write them."""
    names = {"type": "rope_type"}
    return {names.get(k, k): v for k, v in given.items() if k != "rope_theta"}
