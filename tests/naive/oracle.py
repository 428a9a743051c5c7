"""What the tests know of a mechanism, beside what it declares itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attn.kernels import Kernel


@dataclass(frozen=True)
class Oracle:
    """A mechanism's slow definition, and a case of each thing that it claims."""

    spec: Kernel
    """Means something on a sequence of nine tokens."""
    definition: Callable[..., Any]
    """(spec, q, k, v, seen, weights) to [T, Hv]: one head in NumPy, float64, one query
    at a time. `seen` [T, S] is what mask and padding leave, and what `shows` hides."""
    state: Callable[[int, int, int], int]
    """(S, H, Hv) to the numbers kept to decode S tokens, counted by hand."""
    knobs: Mapping[str, tuple[Any, list]] = field(default_factory=dict)
    """Every field of the spec: another good value, and values that must be refused."""
    too_large: tuple[str, ...] = ()
    """Knobs that are refused where they are larger than the sequence."""
    shows: Callable[..., bool] | None = None
    """(spec, t, s, T, causal): what a mechanism that is softmax under a mask shows."""
    variants: Mapping[str, Kernel] = field(default_factory=dict)
    """Specs by a title, whose knobs take another path through the definition."""
    is_dense: Callable[[int, int], tuple[Kernel, Mapping[str, Any]]] | None = None
    """(S, H) to a spec and weights of one head with which it equals softmax."""
    reaches_all: bool = True
    """Whether every key that is seen moves the output; not where some are selected."""
    length_free: bool = True
    """Whether a shorter sequence means the same, its padding aside."""
    drawn: bool = True
    """Whether what it owns differs by seed; not where it is fixed by design."""
    roundings: int = 1
    """Times that it rounds to the dtype of its inputs: its output, and what it makes
    of weights and inputs together."""
    maps: int = 1
    """Softmax maps of one head, which divide its width among them."""
