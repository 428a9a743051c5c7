"""The public calls of this package: from one head to all heads of a model."""

from attn import compiler
from attn.attention.api import attend, attend_with_lse, effective_map
from attn.attention.backends import CallShape
from attn.attention.choose import Choice, choose_implementation, recording, scope
from attn.attention.explain import Explanation, explain

__all__ = [
    "CallShape",
    "Choice",
    "Explanation",
    "attend",
    "attend_with_lse",
    "choose_implementation",
    "effective_map",
    "explain",
    "recording",
    "scope",
]

compiler.warn_if_exposed()
