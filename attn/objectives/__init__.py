"""Training objectives, one file each: mask, head, weighted loss and metrics."""

from attn.objectives.base import (
    ACCURACY,
    BITS_PER_BYTE,
    BITS_PER_TOKEN,
    EXACT_MATCH,
    Batch,
    Metric,
    Objective,
)
from attn.objectives.classify import Classify
from attn.objectives.heads import ClassHead, Head, PairHead, StateHead, TokenHead
from attn.objectives.masked import Masked
from attn.objectives.match import Match
from attn.objectives.next_token import NextToken
from attn.objectives.sequence_to_sequence import SequenceToSequence

__all__ = [
    "ACCURACY",
    "BITS_PER_BYTE",
    "BITS_PER_TOKEN",
    "EXACT_MATCH",
    "Batch",
    "ClassHead",
    "Classify",
    "Head",
    "Masked",
    "Match",
    "Metric",
    "NextToken",
    "Objective",
    "PairHead",
    "SequenceToSequence",
    "StateHead",
    "TokenHead",
]
