"""What is known of tokens at run time only, in one value."""

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TokenInfo:
    """The run-time facts about the tokens of one side of a call: queries or keys.

    Arrays are [B, L], `lengths` [B]; without the batch inside a kernel. None means that
    nothing is to be said: one segment, positions 0, 1, 2, ..., no padding. Fields are
    not typed as arrays, since transforms put leaves of their own there.
    """

    segment_ids: Any = None
    """Integers of at least 0: a query sees the keys of its own segment."""
    positions: Any = None
    """Where tokens stand, for masks, position encodings and biases of distances."""
    lengths: Any = None
    """The first so many tokens are real, the others padding."""
    mask: Any = None
    """True where a token is real, False where it is padding."""
