"""The scoring of a call (scale, soft-cap, bias, sinks), in one value."""

from dataclasses import dataclass, field
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scoring:
    """The steps from products of queries and keys to the softmax.

    In this order: products are scaled, then biased, then capped; a sink joins the
    softmax beside them. Fields are not typed as arrays, since transforms put leaves of
    their own there.
    """

    scale: float | None = field(default=None, metadata={"static": True})
    """The factor of the products; H ** -0.5 unless given."""
    softcap: float | None = field(default=None, metadata={"static": True})
    """The cap c in c tanh(scores / c) (Gemma 2, section 2)."""
    bias: Any = None
    """A bias of the scaled scores: [#B, #N, T, S] or a `RelativeBias` of N heads; [T,
    S] or a `RelativeBias` without heads inside a kernel of one head."""
    sinks: Any = None
    """A score of each head [N], or of one [], that takes part in the softmax and has no
    value (gpt-oss)."""

    def factor(self, H: int) -> float:
        """The factor that products of vectors of width H are multiplied by."""
        return H**-0.5 if self.scale is None else self.scale


PLAIN = Scoring()
"""Scoring with the default scale alone."""
