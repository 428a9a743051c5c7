"""Matching: one class for a pair of documents, each of which is read alone."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int

from attn.kernels.tokens import TokenInfo
from attn.objectives.base import Objective
from attn.objectives.heads import Head, PairHead
from attn.parallel.rules import layout


@dataclass(frozen=True)
class Match(Objective):
    """Cross-entropy of a pair's class, from the mean states of its two documents.

    This is the shape of Long Range Arena's Retrieval (Tay et al. 2021, section 2.2.3): an
    encoder makes each document one vector, and only vectors meet. A row holds both, T / 2
    tokens each, one after the other, and `lengths` [B, 2] where they are padded.

    The model reads the documents as 2 B sequences. Segments within a row would keep them
    apart as well, but not every mechanism takes segments, and most would pay for pairs of
    tokens that never meet.
    """

    name = "match"
    causal = False
    num_documents = 2

    def head(self, num_classes: int) -> Head:
        return PairHead(num_classes)

    def num_scored(self, T):
        return 1

    def logits(self, model, batch, key=None):
        lengths = batch.get("lengths")
        info = TokenInfo(lengths=None if lengths is None else unfold(lengths, 1)[:, 0])
        T = batch["tokens"].shape[1]
        return model(unfold(batch["tokens"], T // self.num_documents), info, key=key)


def unfold(rows: Int[Array, "B T"], L: int) -> Int[Array, "M L"]:
    """Cuts rows into parts of `L`, those of a row in turn, on the device of their row."""
    B, T = rows.shape
    parts = jnp.reshape(rows, (B, T // L, L), out_sharding=layout("B M L"))
    return jnp.reshape(parts, (B * T // L, L), out_sharding=layout("B L"))
