"""Parts of a transformer that are no layers, as plain data: norms, embeddings."""

from dataclasses import dataclass
from typing import Literal

from attn.errors import UserError, require_above_zero, require_choice

NormKind = Literal["rms", "layer"]
NormAt = Literal["pre", "post", "both"]


@dataclass(frozen=True)
class Norm:
    """The normalisation of states, and its place around every layer."""

    kind: NormKind = "rms"
    """`rms` has a scale (Zhang and Sennrich 2019), `layer` a scale and a bias (Ba et al.
    2016)."""
    at: NormAt = "pre"
    """Before each layer, and once after the last (`pre`); after each residual addition
    (`post`, Vaswani et al. 2017); or before and after each layer (`both`, Gemma 2)."""
    eps: float = 1e-6
    """What is added to the variance."""

    def __post_init__(self):
        require_above_zero(self, "eps")
        require_choice(self, kind=NormKind, at=NormAt)

    def num_params(self, D: int) -> int:
        """Trained parameters of one norm."""
        return D * (2 if self.kind == "layer" else 1)

    def params_around(self, D: int) -> int:
        """Trained parameters of the norms of one layer."""
        return self.num_params(D) * (2 if self.at == "both" else 1)

    def params_after(self, D: int) -> int:
        """Trained parameters of the norm after the last layer."""
        return 0 if self.at == "post" else self.num_params(D)


@dataclass(frozen=True)
class Embedding:
    """The maps from tokens to vectors, and from states to logits."""

    tied: bool = True
    """Whether logits are products with the token vectors (Press and Wolf 2017)."""
    scale: float | None = None
    """Factor of token and learned position vectors; sqrt(D) unless given, which makes
    new ones about 1 in size."""
    norm: bool = False
    """Whether a norm follows (BERT)."""
    num_types: int = 0
    """Kinds of segments with a learned vector each (BERT's token types)."""
    logit_scale: float = 1.0
    """Factor of the logits (T5 with tied embeddings: 1 / sqrt(D))."""
    logit_cap: float | None = None
    """Soft-cap c of the logits, in c tanh(logits / c) (Gemma 2)."""

    def __post_init__(self):
        require_above_zero(self, "scale", "logit_scale", "logit_cap")
        if self.num_types < 0:
            raise UserError(
                f"Embedding.num_types = {self.num_types}; it must be 0 or more"
            )

    def num_params(self, D: int, V: int, norm: Norm) -> int:
        """Trained parameters of the token vectors, their types and their norm."""
        return (V + self.num_types) * D + norm.num_params(D) * self.norm
