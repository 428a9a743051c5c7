"""From one head to all heads of a model: the public calls of this package."""

from attn import compiler
from attn.attention.api import (
    Explanation,
    attend,
    attend_with_lse,
    effective_map,
    explain,
)
from attn.attention.backends import CallShape
from attn.attention.choose import choose_implementation

__all__ = [
    "CallShape",
    "Explanation",
    "attend",
    "attend_with_lse",
    "choose_implementation",
    "effective_map",
    "explain",
]

compiler.warn_if_exposed()
