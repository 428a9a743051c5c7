"""Language modelling: predicts every token from those before it."""

from dataclasses import dataclass
from typing import Literal

from attn.kernels.tokens import TokenInfo
from attn.objectives.base import Objective
from attn.objectives.heads import Head, TokenHead


@dataclass(frozen=True)
class NextToken(Objective):
    """Cross-entropy of a decoder's next token, at all positions or at some of them."""

    name = "next_token"
    causal = True

    scored: Literal["all", "positions"] = "all"
    """Whether every position is scored, or those in `positions` of the batch."""

    def head(self, num_classes: int) -> Head:
        return TokenHead()

    def num_scored(self, T):
        return T

    def logits(self, model, batch, key=None):
        info = TokenInfo(lengths=batch.get("lengths"))
        at = batch["positions"] if self.scored == "positions" else None
        return model(batch["tokens"], info, at=at, key=key)
