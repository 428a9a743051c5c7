"""Sequence to sequence: writes a target sequence after reading a source sequence."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int

from attn.kernels.tokens import TokenInfo
from attn.objectives.base import (
    EXACT_MATCH,
    Batch,
    Metric,
    Objective,
    score,
    weights_of,
)
from attn.objectives.heads import Head, TokenHead
from attn.parallel.rules import layout


@dataclass(frozen=True)
class SequenceToSequence(Objective):
    """Cross-entropy of each target token from the source and the target tokens before it.

    A batch holds `source` [B, S], `tokens` [B, T], the target after a start token, and
    `targets` [B, T], the target before an end token; `source_lengths` and `lengths` [B]
    say how many of each are real. An encoder-decoder (Sutskever et al. 2014; Vaswani et
    al. 2017) reads the source with its encoder. A model without an encoder reads source
    and target as one sequence, a decoder's prompt and its continuation, and is scored
    on the target alone.

    `exact_match` is the share of targets whose every token, its end too, is the most
    likely one after the true tokens before it; these are the targets that greedy
    decoding writes without an error.
    """

    name = "sequence_to_sequence"
    causal = True
    reads_source = True

    metric: Metric = EXACT_MATCH

    def head(self, num_classes: int) -> Head:
        return TokenHead()

    def num_scored(self, T):
        return T

    def logits(self, model, batch, key=None):
        source, tokens = batch["source"], batch["tokens"]
        source_info = TokenInfo(lengths=batch.get("source_lengths"))
        info = TokenInfo(lengths=batch.get("lengths"))
        if model.model.encoder is not None:
            return model(tokens, info, source=source, source_info=source_info, key=key)
        S, T = source.shape[1], tokens.shape[1]
        both = jnp.concatenate([source, tokens], axis=1)
        real = jnp.concatenate(
            [ones_at_real(source_info, source), ones_at_real(info, tokens)], axis=1
        )
        # The target follows the last real source token, wherever padding lies.
        positions = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)
        info = TokenInfo(mask=real > 0, positions=positions)
        at = jnp.broadcast_to(
            S + jnp.arange(T)[None], tokens.shape, out_sharding=layout("B T")
        )
        return model(both, info, at=at, key=key)

    def loss(self, model, batch, key=None):
        return super().loss(model, weighted(batch), key)

    def weight(self, batch):
        return super().weight(weighted(batch))

    def sums(self, model, batch):
        weights = weighted(batch)["weights"]
        loss, right = score(self.logits(model, batch), batch["targets"])
        wrong = jnp.where(weights > 0, 1 - right, 0).sum(axis=1)
        # A row of evaluation that fills a batch has no weight anywhere.
        rows = (weights > 0).any(axis=1).astype(jnp.float32)
        return {
            "loss": (weights * loss).sum(),
            "accuracy": (weights * right).sum(),
            "count": weights.sum(),
            "exact_match": (rows * (wrong == 0)).sum(),
            "rows": rows.sum(),
        }

    def metrics(self, sums):
        return super().metrics(sums) | {
            "exact_match": sums["exact_match"] / sums["rows"]
        }


def ones_at_real(info: TokenInfo, tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Computes 1 for each token that is no padding, else 0."""
    real = info.real(tokens.shape[1])
    if real is None:
        return jnp.ones_like(tokens)
    return real.astype(jnp.int32)


def weighted(batch: Batch) -> Batch:
    """The batch with a weight for each target, 0 at padding."""
    targets = batch["targets"]
    real = ones_at_real(TokenInfo(lengths=batch.get("lengths")), targets)
    real = real.astype(jnp.float32)
    weights = weights_of(batch, real)
    return {**batch, "weights": real if weights is None else real * weights}
