"""Training objectives, one file each: mask, head, weighted loss and metrics."""

from attn.objectives.base import (
    ACCURACY,
    BITS_PER_BYTE,
    BITS_PER_TOKEN,
    Batch,
    Metric,
    Objective,
)
from attn.objectives.classify import Classify
from attn.objectives.heads import ClassHead, Head, TokenHead
from attn.objectives.next_token import NextToken

__all__ = [
    "ACCURACY",
    "BITS_PER_BYTE",
    "BITS_PER_TOKEN",
    "Batch",
    "ClassHead",
    "Classify",
    "Head",
    "Metric",
    "NextToken",
    "Objective",
    "TokenHead",
]
