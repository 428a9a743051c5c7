"""Masked language modelling: predicts hidden tokens from those on both sides."""

from dataclasses import dataclass
from typing import ClassVar

from attn.kernels.tokens import TokenInfo
from attn.objectives.base import Objective
from attn.objectives.heads import Head, TokenHead


@dataclass(frozen=True)
class Masked(Objective):
    """Cross-entropy of the tokens that were hidden from an encoder.

    This is BERT's first objective (Devlin et al. 2019, section 3.1). The task hides tokens
    and says where, in `positions` [B, P]; `targets` [B, P] are the tokens that were there.
    """

    name = "masked"
    causal = False
    scored: ClassVar[str] = "positions"

    def head(self, num_classes: int) -> Head:
        return TokenHead()

    def num_scored(self, T):
        return T

    def logits(self, model, batch, key=None):
        info = TokenInfo(lengths=batch.get("lengths"))
        return model(batch["tokens"], info, at=batch["positions"], key=key)
