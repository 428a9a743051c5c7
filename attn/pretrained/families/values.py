"""Values of a config.json: which are accepted, and what they are called here."""

from typing import Any

from attn.config.layers import Act
from attn.errors import UserError, unknown

ACTIVATIONS: dict[str, Act] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Activations there, by the name here."""


def require(key: str, value: Any, accepted: tuple) -> None:
    """Raises `UserError` for a value of a config that is not one of these."""
    if value not in accepted:
        known = " or ".join(map(repr, accepted)) or "no value"
        raise UserError(
            f"config.json: {key} = {value!r} changes what is computed, and {known} is "
            "known here; choose another checkpoint"
        )


def activation(key: str, name: str) -> Act:
    """The activation here, of one by its name there."""
    if name not in ACTIVATIONS:
        raise unknown(f"config.json: {key}", name, ACTIVATIONS)
    return ACTIVATIONS[name]
