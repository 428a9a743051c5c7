"""The base of objectives: a mask, a head, a weighted loss and metrics.

A batch is a dictionary of arrays (`attn.tasks.base`). `weights`, [B] or [B, P], say how
much a row or a scored position counts; 1 unless given.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax.nn import logsumexp
from jaxtyping import Array, Float, Int

from attn.kernels.tokens import TokenInfo
from attn.objectives.heads import Head

Batch = Mapping[str, Array]
Model = Callable[..., Array]
"""A model, as one calls `attn.model.Transformer`."""


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its unit in tables, and which direction is better."""

    name: Literal["accuracy", "exact_match", "bits_per_byte", "bits_per_token"]
    higher_is_better: bool


ACCURACY = Metric("accuracy", higher_is_better=True)
EXACT_MATCH = Metric("exact_match", higher_is_better=True)
BITS_PER_BYTE = Metric("bits_per_byte", higher_is_better=False)
BITS_PER_TOKEN = Metric("bits_per_token", higher_is_better=False)


@dataclass(frozen=True)
class Objective:
    """The base of objectives: cross-entropy at the scored positions of a batch."""

    name: ClassVar[str]
    causal: ClassVar[bool]
    """Whether a token may see only those before it."""
    num_documents: ClassVar[int] = 1
    """How many sequences of equal length a row holds, which the model reads alone."""

    reads_source: ClassVar[bool] = False
    """Whether a row holds a source sequence beside the one that is written."""

    metric: Metric = ACCURACY
    """The metric by which runs are scored."""

    def head(self, num_classes: int) -> Head:
        """The output head that a model needs."""
        raise NotImplementedError

    def num_scored(self, T: int) -> int:
        """The number of scored positions of T tokens, P, unless the task sets it."""
        raise NotImplementedError

    def logits(self, model: Model, batch: Batch, key: Array | None = None) -> Array:
        """Computes the float32 logits [B, P, V] at the scored positions of a batch.

        Args:
            key: turns dropout on.
        """
        return model(batch["tokens"], TokenInfo(lengths=batch.get("lengths")), key=key)

    def loss(
        self, model: Model, batch: Batch, key: Array | None = None
    ) -> Float[Array, ""]:
        """Computes the weighted mean loss over a batch, in nats."""
        loss, _ = score(self.logits(model, batch, key), batch["targets"])
        weights = weights_of(batch, loss)
        if weights is None:
            return loss.mean()
        return (weights * loss).sum() / jnp.maximum(weights.sum(), 1e-9)

    def weight(self, batch: Batch) -> Float[Array, ""]:
        """The weight of a batch beside others of as many rows: what `loss` divides by."""
        weights = batch.get("weights")
        return jnp.float32(1) if weights is None else weights.sum()

    def sums(self, model: Model, batch: Batch) -> dict[str, Array]:
        """Weighted sums over a batch: `loss` in nats, `accuracy`, and their `count`."""
        loss, right = score(self.logits(model, batch), batch["targets"])
        weights = weights_of(batch, loss)
        each = {"loss": loss, "accuracy": right, "count": jnp.ones_like(loss)}
        return {
            k: (x if weights is None else weights * x).sum() for k, x in each.items()
        }

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Computes metrics by name from `sums` added up over batches.

        The objective's own metric is among them.
        """
        scores = {name: sums[name] / sums["count"] for name in ("loss", "accuracy")}
        if self.metric in (BITS_PER_BYTE, BITS_PER_TOKEN):
            scores[self.metric.name] = scores["loss"] / math.log(2)
        return scores


def score(
    logits: Float[Array, "B P V"], targets: Int[Array, "B P"]
) -> tuple[Float[Array, "B P"], Float[Array, "B P"]]:
    """The loss in nats, and whether the argmax is the target, at each position.

    A mesh may divide V: the target's logit is summed out, where a gather would need all.
    """
    own = jnp.arange(logits.shape[-1])[None, None] == targets[..., None]
    loss = logsumexp(logits, axis=-1) - jnp.where(own, logits, 0).sum(axis=-1)
    return loss, (logits.argmax(axis=-1) == targets).astype(jnp.float32)


def weights_of(batch: Batch, loss: Float[Array, "B P"]) -> Float[Array, "B P"] | None:
    """The weight of each scored position; None where all weigh 1."""
    weights = batch.get("weights")
    if weights is None:
        return None
    return jnp.broadcast_to(
        weights[:, None] if weights.ndim == 1 else weights, loss.shape
    )
